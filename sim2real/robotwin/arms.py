"""RoboTwin's simulated arms in our 14-value layout; runs inside RoboTwin's interpreter.

What RoboTwin reports as joints are drive targets. The measured ones are in SAPIEN's articulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import UserError
from dygro_ros.layout import ARM_JOINTS, SIDES

_TURN = 2 * np.pi


def require_two_arms(robot: Any, name: str) -> None:
    """Refuse a robot that is not two arms of six joints with a gripper each.

    Args:
        robot: `TASK_ENV.robot`.
        name: What to call it in the message.

    Raises:
        UserError: It has other arms.
    """
    for side in SIDES:
        joints = getattr(robot, f"{side}_arm_joints")
        if len(joints) != ARM_JOINTS or not getattr(robot, f"{side}_gripper"):
            raise UserError(
                f"the {side} arm must have {ARM_JOINTS} joints and a gripper, but that of {name} has "
                f"{len(joints)} joints: choose aloha-agilex or two pipers as the embodiment"
            )


def measured_joints(robot: Any) -> NDArray[np.float32]:
    """Return where the joints really are, (14,): arms [rad], grippers 0 closed .. 1 open."""
    values: list[float] = []
    for side in SIDES:
        entity = getattr(robot, f"{side}_entity")
        active, position = list(entity.get_active_joints()), np.asarray(entity.get_qpos(), np.float64)
        values += [float(position[active.index(joint)]) for joint in getattr(robot, f"{side}_arm_joints")]
        closed, opened = getattr(robot, f"{side}_gripper_scale")
        finger = float(position[active.index(getattr(robot, f"{side}_gripper")[0][0])])
        values.append(float(np.clip((finger - closed) / (opened - closed), 0.0, 1.0)))
    return np.array(values, np.float32)


def target_joints(robot: Any) -> NDArray[np.float32]:
    """Return the drive targets, (14,), as RoboTwin's observation and its data hold them."""
    targets: Sequence[float] = [*robot.get_left_arm_jointState(), *robot.get_right_arm_jointState()]
    return np.array(targets, np.float32)


def joint_ranges(robot: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the joints' lower and upper limits, each (14,) [rad]; grippers 0 and 1.

    A joint without limits counts as one that turns once to either side.
    """
    lower: list[float] = []
    upper: list[float] = []
    for side in SIDES:
        for joint in getattr(robot, f"{side}_arm_joints"):
            low, high = np.clip(np.asarray(joint.get_limits(), np.float64).reshape(2), -_TURN, _TURN)
            lower.append(float(low))
            upper.append(float(high))
        lower.append(0.0)
        upper.append(1.0)
    return np.array(lower), np.array(upper)
