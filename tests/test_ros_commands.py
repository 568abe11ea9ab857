"""What is said where ROS 2 or the simulator is not installed."""

import pytest

from dygro_ros import start
from dygro_ros.errors import DependencyError
from dygro_ros.ros_commands import require_evaluation, require_ros, require_simulator


def nothing(name: str) -> None:
    return None


def test_a_missing_ros_and_a_missing_simulator_are_said() -> None:
    with pytest.raises(DependencyError, match=r"source /opt/ros/.* or pip install 'dygro_ros\[ros\]'"):
        require_ros(nothing)
    with pytest.raises(DependencyError, match=r"pip install 'dygro_ros\[train\]'"):
        require_simulator(nothing)
    with pytest.raises(
        DependencyError, match=r"evaluations need av, fastapi: pip install 'dygro_ros\[eval\]'"
    ):
        require_evaluation(lambda name: None if name in ("av", "fastapi") else name)
    require_evaluation(lambda name: name)
    require_ros(lambda name: name)
    require_simulator(lambda name: name)


def test_nothing_is_started_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(start, "Graph", started.append)
    monkeypatch.setattr(start, "require_ros", lambda: None)
    monkeypatch.setattr(start, "require_simulator", lambda: require_simulator(nothing))
    with pytest.raises(DependencyError, match="the simulated robot needs MuJoCo"):
        start.start(["--robot", "sim", "--bundle", "/x"])
    monkeypatch.setattr(start, "require_ros", lambda: require_ros(nothing))
    with pytest.raises(DependencyError, match="rclpy is not installed"):
        start.start(["--robot", "piper", "--bundle", "/x"])
    assert started == []
