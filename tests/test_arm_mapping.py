"""Between a driver's joints and ours."""

import numpy as np
import pytest

from dygro_ros.arm_mapping import ArmMapping
from dygro_ros.errors import UserError
from dygro_ros.robot_profile import ArmParameters

NAMES = [f"joint{i}" for i in range(1, 7)] + ["gripper"]
MAPPING = ArmMapping(
    "left",
    ArmParameters(
        state_topic="/left/state",
        command_topic="/left/command",
        joint_names=NAMES,
        gripper_closed=0.0,
        gripper_open=0.08,
    ),
)
POSITIONS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.02]


def test_joints_are_found_by_name_and_the_gripper_is_scaled() -> None:
    expected = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.25]
    order = [6, 2, 0, 1, 5, 4, 3]
    names, positions = [NAMES[i] for i in order], [POSITIONS[i] for i in order]
    np.testing.assert_allclose(MAPPING.to_joint_units(NAMES, POSITIONS), expected)
    np.testing.assert_allclose(MAPPING.to_joint_units([*names, "other"], [*positions, 9.0]), expected)
    np.testing.assert_allclose(MAPPING.to_driver(np.array(expected)), POSITIONS)


@pytest.mark.parametrize(
    ("names", "positions", "words"),
    [
        (NAMES, POSITIONS[:6], "left: 7 joint names came with 6 positions"),
        (["j", *NAMES[1:]], POSITIONS, "left: expected joints joint1, .*, each once, got j, joint2"),
        ([*NAMES, "joint1"], [*POSITIONS, 0.0], "each once"),
        ([], [], "got none"),
        (NAMES, [float("nan"), *POSITIONS[1:]], "left: measured joints must be finite"),
    ],
)
def test_a_message_that_does_not_fit_is_refused(names: list[str], positions: list[float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        MAPPING.to_joint_units(names, positions)
