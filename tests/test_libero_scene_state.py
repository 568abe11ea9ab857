import numpy as np
import pytest

from dygro_ros.errors import DataError
from sim2real.libero.scene_state import (
    PRIVILEGED_SIZE,
    PRIVILEGED_SLICES,
    SceneNames,
    SceneState,
    axis_angle,
    rotation_matrix,
)

DESCRIPTION = {
    "objects": ["pan_1", "pot_1", "stove_1"],
    "bodies": ["pan_1_main", "pot_1_main", "stove_1_main", "stove_1_button"],
    "joints": ["stove_1_button"],
    "joint_bodies": ["stove_1_button"],
    "regions": ["table_region", "stove_1_cook_region"],
    "origin": [0.0, 0.0, 0.9],
}
NAMES = SceneNames.from_description(DESCRIPTION)
QUARTER_TURN = np.array([np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)])  # about z


def scene(joints: int = 1) -> SceneState:
    bodies = np.zeros((4, 7))
    bodies[:, 0] = (0.1, 0.2, 0.3, 0.4)
    bodies[:, 2] = 1.0
    bodies[:, 3:] = QUARTER_TURN
    observation = {
        "success": False,
        "hand": np.array([0.2, 0.0, 1.1, 0.0, 1.0, 0.0, 0.0, 0.04, -0.03]),
        "bodies": bodies,
        "joints": np.full(joints, 0.7),
        "arm": np.arange(7.0),
        "regions": np.array([[0.0, 0.0, 0.875], [0.5, 5.0, 0.9]]),
    }
    return SceneState.from_observation(NAMES, observation)


@pytest.mark.parametrize(
    ("goal", "parts"),
    [
        ([["turnon", "stove_1"]], ("stove_1_button",)),
        ([["on", "pot_1", "stove_1_cook_region"]], ("pot_1_main", "stove_1_cook_region")),
        (
            [["on", "pot_1", "stove_1_cook_region"], ["on", "pan_1", "stove_1_cook_region"]],
            ("pot_1_main", "pan_1_main"),
        ),
        ([["turnon", "stove_1"], ["on", "pot_1", "stove_1_cook_region"]], ("stove_1_button", "pot_1_main")),
    ],
)
def test_a_goal_is_about_what_moves_and_then_about_where_to(
    goal: list[list[str]], parts: tuple[str, ...]
) -> None:
    assert NAMES.goal_parts(goal) == parts


def test_positions_are_read_by_name() -> None:
    state = scene()
    np.testing.assert_allclose(state.position("pot_1_main"), [0.2, 0, 1])
    np.testing.assert_allclose(state.position("table_region"), [0, 0, 0.875])
    assert state.joint("stove_1_button") == 0.7
    np.testing.assert_allclose(state.rotation("pot_1_main") @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(state.rotation("table_region"), np.eye(3))
    np.testing.assert_allclose(state.hand_rotation, np.diag([1, -1, -1]), atol=1e-12)


def test_proprio_is_position_axis_angle_and_fingers() -> None:
    proprio = scene().proprio()
    assert proprio.dtype == np.float32
    np.testing.assert_allclose(proprio, [0.2, 0, 1.1, np.pi, 0, 0, 0.04, -0.03], rtol=1e-6)


def test_privileged_state_has_one_layout_for_every_task() -> None:
    vector = scene().privileged(("pot_1_main", "stove_1_cook_region"), 0.25)
    assert (vector.shape, vector.dtype) == ((PRIVILEGED_SIZE,), np.float32)
    expected = {
        "object_positions": [1.0, 0, 0.5, 2.5, 5.0, 0],  # 5 m away counts as 1 m
        "hand_position": [1.0, 0, 1.0],
        "hand_rotation": [1, 0, 0, 0, -1, 0],
        "fingers": [0.2, -0.15],
        "object_rotations": [0, 1, 0, -1, 0, 0, 1, 0, 0, 0, 1, 0],
        "hand_to_object": [0, 0, -0.5, 1.5, 5.0, -1.0],
        "joints": [0.7, 0, 0, 0, 0, 0, 0, 0],
        "time": [0.25],
    }
    assert set(expected) == set(PRIVILEGED_SLICES)
    assert PRIVILEGED_SLICES["object_positions"] == slice(0, 6)
    for name, values in expected.items():
        np.testing.assert_allclose(vector[PRIVILEGED_SLICES[name]], values, atol=1e-6, err_msg=name)
    alone = scene().privileged(("stove_1_button",), 0.0)
    np.testing.assert_array_equal(alone[3:6], 0.0)
    np.testing.assert_allclose(alone[:3], [2.0, 0, 0.5])


def test_more_joints_than_the_vector_holds_are_refused() -> None:
    with pytest.raises(DataError, match="may have 8 joints"):
        scene(joints=9).privileged((), 0.0)


def test_axis_angle_runs_through_pi_without_a_jump() -> None:
    for angle in (0.0, 1e-3, 3.0, np.pi, 3.3, 6.0):
        quaternion = np.array([np.cos(angle / 2), 0.0, np.sin(angle / 2), 0.0])
        np.testing.assert_allclose(axis_angle(quaternion), [0, angle, 0], atol=1e-9)
        sine, cosine = np.sin(angle), np.cos(angle)
        np.testing.assert_allclose(
            rotation_matrix(2 * quaternion), [[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]], atol=1e-9
        )
