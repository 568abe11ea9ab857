import numpy as np
import pytest

from dygro_ros.layout import ACTION_SIZE, GRIPPER_INDICES
from models.action_space import ActionLayout
from sim2real.cell.world import DUAL_ARM
from training.measured_space import SCALE_FLOOR, measure_space


def test_scale_is_a_robust_maximum_within_the_chunk_with_a_floor() -> None:
    frames, horizon = 400, 5
    state = np.zeros((frames, ACTION_SIZE), dtype=np.float32)
    action = np.zeros_like(state)
    action[:, 0] = np.linspace(0.0, 1.0, frames)  # grows through the chunk: later steps must count
    action[7, 1] = 3.0  # one outlier: 5 of 2000 offsets
    measured = measure_space([state], [action], horizon, DUAL_ARM)
    assert 0.98 < float(measured.scale[0]) <= 1.0
    assert [float(measured.scale[joint]) for joint in (1, 2)] == pytest.approx([SCALE_FLOOR] * 2)
    assert float(measured.scale[GRIPPER_INDICES[0]]) == 0.5


def test_statistics_of_proprioception_are_measured_with_a_floor() -> None:
    rng = np.random.default_rng(0)
    state = rng.normal(0.3, 0.2, (5000, ACTION_SIZE)).astype(np.float32)
    state[:, 4] = 0.7
    measured = measure_space([state], [state], 3, DUAL_ARM)
    assert float(measured.proprio_mean[0]) == pytest.approx(0.3, abs=0.02)
    assert float(measured.proprio_std[0]) == pytest.approx(0.2, abs=0.02)
    assert float(measured.proprio_std[4]) > 0.0


@pytest.mark.parametrize(
    ("states", "actions", "message"),
    [
        ([], [], "at least one"),
        ([np.zeros((4, 14))], [np.zeros((4, 13))], r"\(T, 14\)"),
        ([np.zeros((4, 14))], [np.zeros((3, 14))], r"\(T, 14\)"),
    ],
)
def test_demonstrations_of_another_shape_are_named(states: list, actions: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure_space(states, actions, 3, DUAL_ARM)


def test_actions_that_are_not_relative_need_no_proprioception_of_their_size() -> None:
    layout = ActionLayout((-1.0, -1.0), (1.0, 1.0), grippers=(1,))
    state = np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32)
    measured = measure_space([state], [np.zeros((50, 2), dtype=np.float32)], 3, layout)
    assert measured.scale.tolist() == [1.0, 1.0]
    assert measured.proprio_mean.shape == (5,)
