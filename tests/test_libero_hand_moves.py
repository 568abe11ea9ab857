from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_libero_scene_state import scene

from sim2real.libero.hand_moves import (
    CLOSE,
    OPEN,
    HandTarget,
    action_towards,
    distance,
    go,
    hold,
    pointing_down,
    rotation_vector,
    turned,
)

SCENE = scene()  # hand at (0.2, 0, 1.1), pointing down
HERE = HandTarget(SCENE.hand_position, pointing_down(0.0), OPEN)


def test_at_the_target_only_the_gripper_acts() -> None:
    np.testing.assert_allclose(action_towards(SCENE, HERE), [0, 0, 0, 0, 0, 0, -1], atol=1e-7)
    assert action_towards(SCENE, replace(HERE, gripper=CLOSE))[6] == 1.0


def test_actions_lead_straight_to_the_target_and_stay_in_range() -> None:
    far = replace(HERE, position=HERE.position + np.array([0.2, -0.1, 0.05]), rotation=pointing_down(1.0))
    np.testing.assert_allclose(action_towards(SCENE, far), [1, -0.5, 0.25, 0, 0, 1, -1], atol=1e-6)
    slow = action_towards(SCENE, replace(far, speed=0.5))
    np.testing.assert_allclose(slow, [0.5, -0.25, 0.125, 0, 0, 0.5, -1], atol=1e-6)
    near = replace(HERE, position=HERE.position + np.array([0.01, 0, 0]))
    np.testing.assert_allclose(action_towards(SCENE, near)[:3], [0.4, 0, 0], atol=1e-6)


@given(
    st.lists(st.floats(-1.0, 1.0), min_size=3, max_size=3).filter(lambda v: np.linalg.norm(v) > 1e-3),
    st.floats(-3.1, 3.1),
)
def test_a_rotation_vector_is_axis_times_angle(axis: list[float], angle: float) -> None:
    unit = np.array(axis) / np.linalg.norm(axis)
    cross = np.cross(np.eye(3), unit)
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross  # Rodrigues
    np.testing.assert_allclose(rotation_vector(rotation), unit * angle, atol=1e-6)


def test_fingers_of_a_hand_that_points_down() -> None:
    np.testing.assert_allclose(pointing_down(0.0)[:, 1], [0, -1, 0])
    np.testing.assert_allclose(pointing_down(np.pi / 2)[:, 1], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(pointing_down(0.3)[:, 2], [0, 0, -1])
    np.testing.assert_allclose(turned(np.pi / 2) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("position", "rotation", "steps"),
    [
        (np.zeros(3), pointing_down(0.0), 0),
        (np.array([0.02, 0, 0]), pointing_down(0.0), 7),
        (np.zeros(3), pointing_down(0.2), 7),
    ],
)
def test_a_move_ends_within_both_tolerances(position: np.ndarray, rotation: np.ndarray, steps: int) -> None:
    target = replace(HERE, position=SCENE.hand_position + position, rotation=rotation)
    moves = list(go(lambda: SCENE, target, max_steps=7))
    assert moves == [target] * steps
    away_m, away_rad = distance(SCENE, target)
    assert away_m == pytest.approx(np.linalg.norm(position))
    assert away_rad == pytest.approx(0.0 if steps == 0 or position.any() else 0.2, abs=1e-6)


def test_a_hold_lasts_as_long_as_asked() -> None:
    assert len(list(hold(HERE, 5))) == 5
