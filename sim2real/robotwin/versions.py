"""What RoboTwin's interpreter must have installed; runs inside it, before anything of it is imported."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import metadata

from dygro_ros.distributions import installed
from dygro_ros.errors import DependencyError

# What RoboTwin 2.0's installation script installs, and patches. cuRobo counts its versions by commits: a copy
# with local changes calls itself the next one.
SIMULATOR: Mapping[str, str] = {"sapien": "3.0.0b1", "mplib": "0.2.1", "nvidia-curobo": "0.7"}
# What our robot side needs beside what RoboTwin has; "" for any version.
POLICY: Mapping[str, str] = {"numpy": "", "onnxruntime": "", "pydantic": "2", "PyYAML": ""}
SIMULATOR_REMEDY = "bash scripts/_install.sh (script/_install.sh before July 2026) in RoboTwin's checkout"


def policy_remedy() -> str:
    """Return the command that installs what `POLICY` names, beside an ONNX Runtime that is there."""
    try:
        runtime, _ = installed("onnxruntime")
    except metadata.PackageNotFoundError:
        runtime = "onnxruntime"
    # NumPy 1: RoboTwin's extensions are built for it.
    return f"{sys.executable} -m pip install {runtime} 'pydantic>=2.7' pyyaml 'numpy<2'"


def require(versions: Mapping[str, str], remedy: str) -> None:
    """Check what is installed in this interpreter.

    Args:
        versions: Wanted version of each library; an installed one may go on behind a dot or a plus sign.
        remedy: The command that installs them.

    Raises:
        DependencyError: One is missing or of another version; names all of them.
    """
    wrong = []
    for name, wanted in versions.items():
        try:
            _, found = installed(name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{name} {wanted}".strip() + " is missing")
            continue
        if wanted and found != wanted and not found.startswith((f"{wanted}.", f"{wanted}+")):
            wrong.append(f"{name} must be {wanted}, found {found}")
    if wrong:
        raise DependencyError(
            f"RoboTwin's Python {sys.version_info.major}.{sys.version_info.minor} ({sys.executable}): "
            f"{'; '.join(wrong)}: {remedy}"
        )
