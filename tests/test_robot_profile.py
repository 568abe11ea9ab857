"""Robot profiles: those that come with the package, and what is refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dygro_ros.errors import UserError
from dygro_ros.layout import ACTION_SIZE
from dygro_ros.robot_profile import HOLD_WITHIN_S, profile_path, read_profile

CONFIG = Path(__file__).resolve().parents[1] / "config"
NAMES = sorted(path.stem for path in CONFIG.glob("*.yaml"))


def values() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CONFIG / "piper.yaml").read_text())
    return found


def write(folder: Path, profile: object) -> Path:
    path = folder / "robot.yaml"
    path.write_text(yaml.safe_dump(profile))
    return path


def test_the_promised_profiles_are_there() -> None:
    assert {"sim", "piper", "cobot_magic", "jtc"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_makes_a_controller_that_holds_in_time(name: str) -> None:
    bridge = read_profile(name).arm_bridge
    config = bridge.controller()
    assert config.limits.joints == ACTION_SIZE
    stop_s = config.limits.longest_stop_s(config.period_s)
    assert (
        max(config.ages[s].stop_s for s in ("left", "right", "policy", "head_camera")) + stop_s
        <= HOLD_WITHIN_S
    )
    assert (np.abs(config.home) <= np.pi).all()
    assert ("operator" in config.ages) == bridge.operator_required


def test_a_real_robot_needs_an_operator_by_default() -> None:
    assert all(read_profile(name).arm_bridge.operator_required for name in NAMES if name != "sim")


def test_a_name_or_a_path_finds_a_profile(tmp_path: Path) -> None:
    assert profile_path("piper") == CONFIG / "piper.yaml"
    assert profile_path(tmp_path / "mine.yaml") == tmp_path / "mine.yaml"
    with pytest.raises(UserError, match=r"unknown robot profile 'pipe' in robot .did you mean 'piper'"):
        profile_path("pipe")


def set_in(profile: dict[str, Any], place: str, value: object) -> None:
    node, *sections, last = place.split(".")
    section = profile[node]["ros__parameters"]
    for name in sections:
        section = section[name]
    if value is None:
        del section[last]
    else:
        section[last] = value


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("arm_bridge.control_rate_hz", None, "arm_bridge.control_rate_hz: Field required"),
        ("arm_bridge.control_rate_hz", 20.0, "arm_bridge.control_rate_hz: .*greater than or equal to 50"),
        ("arm_bridge.limits.velocity", [1.0] * 6, "arm_bridge.limits.velocity"),
        (
            "policy_node.image_topics",
            ["/front/color/image_raw"],
            "camera_info_topics are of cameras head_camera, but policy_node.image_topics of front",
        ),
        ("arm_bridge.limits.jerk", [0.0] * 7, "arm_bridge.limits.jerk"),
        ("arm_bridge.limits.velocity", [30.0] * 7, "hold 0.2 s after ages.arm fails"),
        ("arm_bridge.arms.left.gripper_open", 0.0, "gripper_closed and gripper_open must differ"),
        ("arm_bridge.arms.right.joint_names", ["a"] * 7, "joint_names must be distinct"),
        ("arm_bridge.arms.right.state_topic", "no slash", "arm_bridge.arms.right.state_topic"),
        ("arm_bridge.home.left", [float("nan")] * 7, "arm_bridge.home.left"),
        ("policy_node.crop", [0.0, 0.0, 1.0], "policy_node.crop"),
        ("policy_node.crop", [0.5, 0.0, 0.5, 1.0], "left must be below right"),
        ("policy_node.speed", 3, "policy_node.speed: Extra inputs"),
        ("camera_node.driver", "webcam", "camera_node.driver: Input should be 'realsense' or 'replay'"),
    ],
)
def test_a_field_that_is_wrong_is_named(tmp_path: Path, place: str, value: object, words: str) -> None:
    profile = values()
    set_in(profile, place, value)
    with pytest.raises(UserError, match=words):
        read_profile(write(tmp_path, profile))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "is not YAML"),
        ("- 1", "must hold a section for each node, found list"),
        ("arm_bridge: {rate: 1}", "arm_bridge must hold ros__parameters and nothing else"),
    ],
)
def test_a_file_that_is_no_profile_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "robot.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        read_profile(path)
    with pytest.raises(UserError, match="no such robot profile"):
        read_profile(tmp_path / "absent.yaml")
