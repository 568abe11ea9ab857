"""The running nodes as the robot of an evaluation, without the nodes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="the ros extra is for Linux on x86-64")

from dygro_ros.arm_controller import NEEDS_FRESH
from dygro_ros.errors import NotAllowed
from dygro_ros.nodes import ros_trial_robot
from dygro_ros.nodes.ros_trial_robot import RosTrialRobot
from dygro_ros.robot_profile import read_profile

pytestmark = pytest.mark.usefixtures("own_domain")


@pytest.fixture
def robot(own_domain: None) -> Iterator[RosTrialRobot]:
    node = RosTrialRobot(read_profile("sim"))
    yield node
    node.destroy_node()


def refusing(robot: RosTrialRobot, monkeypatch: pytest.MonkeyPatch, *refusals: str) -> list[str]:
    """Let the arm bridge refuse with these words, one after the other, then agree; returns what was asked."""
    asked: list[str] = []

    def ask(service: str) -> str:
        asked.append(service)
        if len(asked) <= len(refusals):
            raise NotAllowed(refusals[len(asked) - 1])
        return "running"

    monkeypatch.setattr(robot, "ask", ask)
    return asked


def test_a_moments_lateness_costs_no_attempt(
    robot: RosTrialRobot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = f"run {NEEDS_FRESH} policy: policy 110 ms old"
    asked = refusing(robot, monkeypatch, late, late)
    robot.begin(tmp_path / "1")
    assert asked == ["run"] * 3
    robot.end()

    monkeypatch.setattr(ros_trial_robot, "FRESHENS_S", 0.0)
    refusing(robot, monkeypatch, *[late] * 100)
    with pytest.raises(NotAllowed, match="run needs fresh policy"):
        robot.begin(tmp_path / "2")


def test_any_other_refusal_is_told_at_once(
    robot: RosTrialRobot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = refusing(robot, monkeypatch, "run needs mode holding, the arms are stopped")
    with pytest.raises(NotAllowed, match="needs mode holding"):
        robot.begin(tmp_path / "1")
    assert asked == ["run"]
