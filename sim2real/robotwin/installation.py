"""RoboTwin 2.0 as it lies on this machine: its checkout and its interpreter, checked before every use.

It installs itself (its own scripts, about 20 minutes, a GPU); here is only said what is missing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dygro_ros.checkout import source_root
from dygro_ros.errors import DependencyError, unknown_name

REPOSITORY = "https://github.com/RoboTwin-Platform/RoboTwin.git"
# Where its task configurations are, since July 2026 and before.
_CONFIGURATIONS = ("env_cfg/task_config", "task_config")


@dataclass(frozen=True)
class Installation:
    """Where RoboTwin is."""

    checkout: Path
    """RoboTwin's checkout."""
    python: Path
    """The interpreter of RoboTwin's environment."""

    def check(self, task_config: str) -> None:
        """Say what is missing before a process is started for nothing.

        Args:
            task_config: Name of a task configuration, such as "demo_clean".

        Raises:
            DependencyError: Checkout, assets or interpreter are not there, or ours is no checkout; has the
                command that mends it.
            UserError: There is no such task configuration.
        """
        source_root()
        checkout = self.checkout
        if not (checkout / "envs" / "_base_task.py").is_file():
            raise DependencyError(
                f"{checkout} is no checkout of RoboTwin 2.0, it has no envs/_base_task.py: "
                f"git clone --recurse-submodules {REPOSITORY} {checkout}"
            )
        folder = self.configurations
        if not (folder / f"{task_config}.yml").is_file():
            known = sorted(p.stem for p in folder.glob("*.yml") if not p.stem.startswith("_"))
            raise unknown_name("task configuration", task_config, known, str(folder))
        if not (checkout / "assets" / "embodiments").is_dir():
            scripts = "scripts" if (checkout / "scripts").is_dir() else "script"
            raise DependencyError(
                f"{checkout} has no robots in assets/embodiments: "
                f"cd {checkout} && bash {scripts}/_download_assets.sh"
            )
        if not self.python.is_file():
            raise DependencyError(
                f"{self.python}, the interpreter of RoboTwin's environment, is not there: "
                "conda create -n RoboTwin python=3.10, then RoboTwin's installation script in it"
            )

    @property
    def configurations(self) -> Path:
        """Folder of the task configurations."""
        found = [self.checkout / name for name in _CONFIGURATIONS if (self.checkout / name).is_dir()]
        return found[0] if found else self.checkout / _CONFIGURATIONS[0]

    def tasks(self) -> tuple[str, ...]:
        """Return the names of RoboTwin's tasks, sorted: one module each."""
        modules = (self.checkout / "envs").glob("*.py")
        return tuple(sorted(path.stem for path in modules if path.stem[0].isalpha()))

    def environment(self) -> dict[str, str]:
        """Return the environment variables under which its interpreter runs.

        Raises:
            DependencyError: We are installed, but not as a checkout (`source_root`).
        """
        ours = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        return {**ours, "PYTHONPATH": str(source_root()), "PYTHONWARNINGS": "ignore"}
