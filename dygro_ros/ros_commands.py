"""Commands that need ROS 2, and the sentence that says so where there is none."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.util import find_spec

from dygro_ros.errors import DependencyError, run_main

EVALUATION = ("scipy", "matplotlib", "mcap", "av", "fastapi", "uvicorn")


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


def require_evaluation(find: Callable[[str], object] = find_spec) -> None:
    """Return if what evaluations stand on is there.

    Raises:
        DependencyError: It is not; says what to install.
    """
    missing = [name for name in EVALUATION if find(name) is None]
    if missing:
        raise DependencyError(f"evaluations need {', '.join(missing)}: pip install 'dygro_ros[eval]'")


def operator() -> None:
    """Run `dygro-operator`."""
    _run("dygro_ros.nodes.operator_console", "console")


def evaluate() -> None:
    """Run `dygro-evaluate`."""
    _run("dygro_ros.nodes.evaluate", "evaluate", require_evaluation)


def capture_scenes() -> None:
    """Run `dygro-capture-scenes`."""
    _run("dygro_ros.nodes.capture_scenes", "capture")


def calibrate_delay() -> None:
    """Run `dygro-calibrate-delay`."""
    _run("dygro_ros.nodes.calibrate_delay", "calibrate")


def _run(module: str, function: str, require: Callable[[], None] = lambda: None) -> None:
    def main() -> int | None:
        require_ros()
        require()
        found: int | None = getattr(importlib.import_module(module), function)()
        return found

    run_main(main)
