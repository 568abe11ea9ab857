"""Commands that need ROS 2, and the sentence that says so where there is none."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.util import find_spec

from dygro_ros.errors import DependencyError, run_main


def require_ros(find: Callable[[str], object] = find_spec) -> None:
    """Return if rclpy is there.

    Raises:
        DependencyError: It is not; says what to do.
    """
    if find("rclpy") is None:
        raise DependencyError(
            "rclpy is not installed: source /opt/ros/<distro>/setup.bash, or pip install 'dygro_ros[ros]'"
        )


def require_simulator(find: Callable[[str], object] = find_spec) -> None:
    """Return if the simulated robot can run here.

    Raises:
        DependencyError: It cannot; says what to install.
    """
    if find("mujoco") is None:
        raise DependencyError("the simulated robot needs MuJoCo: pip install 'dygro_ros[train]'")


def operator() -> None:
    """Run `dygro-operator`."""
    _run("dygro_ros.nodes.operator_console", "console")


def calibrate_delay() -> None:
    """Run `dygro-calibrate-delay`."""
    _run("dygro_ros.nodes.calibrate_delay", "calibrate")


def _run(module: str, function: str) -> None:
    def main() -> int | None:
        require_ros()
        found: int | None = getattr(importlib.import_module(module), function)()
        return found

    run_main(main)
