"""The arm's closed-form kinematics agree with MuJoCo's and with each other."""

import math

import mujoco
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dygro_ros.layout import ARM_LOWER, ARM_UPPER, SIDES
from sim2real.cell.arms import (
    ArmKinematics,
    Pose,
    base_position,
    gripper_rotation,
    home_joints,
    rotation_xyz,
)
from sim2real.cell.scene import build_model

sides = st.sampled_from(SIDES)
joint_angles = st.tuples(
    *(st.floats(low + 0.01, high - 0.01) for low, high in zip(ARM_LOWER, ARM_UPPER, strict=True))
).map(np.array)
angles = st.floats(-math.pi, math.pi)
MODEL = build_model(["place_empty_cup"])
DATA = mujoco.MjData(MODEL)


@given(sides, joint_angles)
def test_forward_kinematics_is_mujocos(side: str, joints: np.ndarray) -> None:
    for index, angle in enumerate(joints):
        DATA.joint(f"{side}_joint{index + 1}").qpos[:] = angle
    mujoco.mj_kinematics(MODEL, DATA)
    pose = ArmKinematics(side).forward(joints)
    np.testing.assert_allclose(pose.position, DATA.site(f"{side}_tcp").xpos, atol=1e-7)
    np.testing.assert_allclose(pose.rotation.ravel(), DATA.site(f"{side}_tcp").xmat, atol=1e-7)


@given(sides, joint_angles, joint_angles)
@example("left", np.array([0.0, 1.0, -1.0, 0.0, 0.0, -2.0]), np.array([0.0, 1.0, -1.0, 1.5, 0.0, 0.0]))
def test_inverse_kinematics_reaches_every_reachable_pose_inside_the_limits(
    side: str, joints: np.ndarray, reference: np.ndarray
) -> None:
    arm = ArmKinematics(side)
    pose = arm.forward(joints)
    solved = arm.inverse(pose, reference)
    assert solved is not None
    assert (solved >= ARM_LOWER).all() and (solved <= ARM_UPPER).all()
    reached = arm.forward(solved)
    np.testing.assert_allclose(reached.position, pose.position, atol=1e-6)
    np.testing.assert_allclose(reached.rotation, pose.rotation, atol=1e-6)


@given(sides, joint_angles)
def test_the_solution_nearest_to_the_reference_is_taken(side: str, joints: np.ndarray) -> None:
    arm = ArmKinematics(side)
    solved = arm.inverse(arm.forward(joints), joints)
    assert solved is not None
    if abs(joints[4]) > 0.01:  # not where joint4 and joint6 are parallel
        np.testing.assert_allclose(solved, joints, atol=1e-5)


def test_a_pose_out_of_reach_or_inside_the_margin_has_no_solution() -> None:
    arm = ArmKinematics("right")
    far = Pose(np.array([0.28, 0.9, 0.9]), gripper_rotation(0.0, math.pi / 2))
    assert arm.inverse(far, home_joints("right")) is None
    at_limit = np.array([0.3, 1.0, -1.0, 0.0, ARM_UPPER[4] - 0.01, 0.2])
    pose = arm.forward(at_limit)
    assert arm.inverse(pose, at_limit) is not None
    assert arm.inverse(pose, at_limit, margin=0.03) is None


@given(st.floats(-1.5, 1.5), angles, angles)
def test_gripper_rotation_is_a_rotation_that_points_down_by_its_tilt(
    tilt: float, azimuth: float, roll: float
) -> None:
    rotation = gripper_rotation(tilt, azimuth, roll)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    assert rotation[2, 2] == pytest.approx(-math.sin(tilt), abs=1e-12)
    level = gripper_rotation(tilt, azimuth)
    assert level[2, 1] == pytest.approx(0.0, abs=1e-12)  # fingers close along the horizontal


@given(angles, angles, angles)
def test_rotation_xyz_is_roll_then_pitch_then_yaw(roll: float, pitch: float, yaw: float) -> None:
    x = rotation_xyz(roll, 0, 0)
    y = rotation_xyz(0, pitch, 0)
    z = rotation_xyz(0, 0, yaw)
    np.testing.assert_allclose(rotation_xyz(roll, pitch, yaw), z @ y @ x, atol=1e-12)
    np.testing.assert_allclose(rotation_xyz(math.pi / 2, 0, 0) @ (0, 1, 0), (0, 0, 1), atol=1e-12)


def test_the_arms_are_mirror_images_at_home() -> None:
    left, right = (ArmKinematics(side).forward(home_joints(side)).position for side in SIDES)
    np.testing.assert_allclose(left * (-1, 1, 1), right, atol=1e-12)
    np.testing.assert_allclose(base_position("left") * (-1, 1, 1), base_position("right"))
