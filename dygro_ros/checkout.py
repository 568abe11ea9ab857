"""Where the code lies, and which commit of it runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from dygro_ros.errors import DependencyError

ROOT = Path(__file__).resolve().parents[1]


def source_root() -> Path:
    """Return the folder that other interpreters find our packages in, by their PYTHONPATH.

    Raises:
        DependencyError: The packages lie among all others of our environment, which would then stand in for
            those of the other interpreter, numpy among them.
    """
    if not (ROOT / "setup.py").is_file():
        raise DependencyError(
            f"{ROOT} is no checkout of dygro_ros but where it is installed, and what lies beside it is not "
            "for another interpreter: pip install -e CHECKOUT"
        )
    return ROOT


def current_commit() -> str:
    """Return the checkout's commit, with "-dirty" when files differ from it, or "unknown" outside git."""
    # Installed into some other project's checkout, that one's commit would say nothing.
    if not (ROOT / ".git").exists():
        return "unknown"
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit
