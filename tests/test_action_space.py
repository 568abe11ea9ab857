import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dygro_ros.layout import ACTION_SIZE, ARM_INDICES, GRIPPER_INDICES, JOINT_LOWER, JOINT_UPPER
from models.action_space import ActionLayout, ActionSpace
from sim2real.cell.world import DUAL_ARM

LOWER, UPPER = torch.tensor(JOINT_LOWER.tolist()), torch.tensor(JOINT_UPPER.tolist())
SCALE = np.linspace(0.1, 0.4, ACTION_SIZE)


def build(scale: object, mean: object, std: object) -> ActionSpace:
    return ActionSpace(scale, mean, std, DUAL_ARM)


def space() -> ActionSpace:
    return build(SCALE, np.full(ACTION_SIZE, 0.2), np.full(ACTION_SIZE, 2.0))


@given(st.integers(0, 2**31 - 1))
def test_joint_units_come_back_exactly_where_the_limits_allow(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    proprio = LOWER + torch.rand(3, ACTION_SIZE, generator=generator) * (UPPER - LOWER)
    chunk = LOWER + torch.rand(3, 5, ACTION_SIZE, generator=generator) * (UPPER - LOWER)
    back = space().to_joints(space().normalise(chunk, proprio), proprio)
    assert torch.allclose(back, chunk, atol=2e-6)


@given(st.floats(-50.0, 50.0), st.integers(0, 2**31 - 1))
def test_no_normalised_chunk_leaves_the_joint_limits(size: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    chunk = space().to_joints(
        size * torch.randn(2, 4, ACTION_SIZE, generator=generator), torch.randn(2, 14, generator=generator)
    )
    assert bool((chunk >= LOWER).all())
    assert bool((chunk <= UPPER).all())


def test_zero_means_stay_for_arms_and_half_open_for_grippers() -> None:
    proprio = torch.linspace(0.05, 0.9, ACTION_SIZE).unsqueeze(0)
    proprio[0, [2, 9]] = -0.5
    chunk = space().to_joints(torch.zeros(1, 2, ACTION_SIZE), proprio)
    assert torch.allclose(
        chunk[:, :, list(ARM_INDICES)], proprio[:, None, list(ARM_INDICES)].expand(-1, 2, -1)
    )
    assert (chunk[:, :, list(GRIPPER_INDICES)] == 0.5).all()


def test_grippers_span_minus_one_to_one_whatever_scale_is_given() -> None:
    chunk = torch.zeros(1, 2, ACTION_SIZE)
    chunk[0, 1] = 1.0
    normalised = space().normalise(chunk, torch.full((1, ACTION_SIZE), 0.3))
    assert normalised[0, :, GRIPPER_INDICES[0]].tolist() == [-1.0, 1.0]


def test_proprioception_is_standardised() -> None:
    values = space().normalise_proprio(torch.tensor([[0.2] * 13 + [2.2]]))
    assert torch.allclose(values, torch.tensor([[0.0] * 13 + [1.0]]))


def test_a_scale_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="proprio_std must be positive"):
        build(SCALE, np.zeros(ACTION_SIZE), np.zeros(ACTION_SIZE))
    with pytest.raises(ValueError, match="scale"):
        build(np.ones(3), np.zeros(ACTION_SIZE), np.ones(ACTION_SIZE))


def test_normalisation_travels_with_the_weights() -> None:
    other = ActionSpace.blank(ACTION_SIZE, ACTION_SIZE)
    other.load_state_dict(space().state_dict())
    chunk, proprio = torch.rand(1, 2, ACTION_SIZE), torch.rand(1, ACTION_SIZE)
    assert torch.equal(other.normalise(chunk, proprio), space().normalise(chunk, proprio))


DELTAS = ActionLayout(lower=(-1.0, -1.0, 0.0), upper=(1.0, 1.0, 4.0), grippers=(2,))


@pytest.mark.parametrize("proprio", [1, 3, 5])
def test_actions_that_are_not_relative_span_their_limits_whatever_proprioception_has(proprio: int) -> None:
    deltas = ActionSpace(np.full(3, 9.0), np.zeros(proprio), np.ones(proprio), DELTAS)
    measured = torch.full((2, proprio), 0.7)
    chunk = torch.tensor([[[-1.0, 1.0, 0.0], [0.5, 0.0, 4.0]]]).expand(2, -1, -1)
    assert deltas.normalise(chunk, measured)[1].tolist() == [[-1.0, 1.0, -1.0], [0.5, 0.0, 1.0]]
    assert torch.equal(deltas.to_joints(deltas.normalise(chunk, measured), measured), chunk)
    assert deltas.normalise_proprio(measured).shape == (2, proprio)


def test_a_relative_action_without_its_measurement_is_refused() -> None:
    layout = ActionLayout((-1.0, -1.0), (1.0, 1.0), (), relative=(1,))
    with pytest.raises(ValueError, match=r"relative actions \(1,\) need as many .* got 1"):
        ActionSpace(np.ones(2), np.zeros(1), np.ones(1), layout)


def test_a_layout_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="lower < upper"):
        ActionLayout((0.0, 1.0), (1.0, 1.0), ())
    with pytest.raises(ValueError, match=r"index 2 must lie in 0\.\.1"):
        ActionLayout((0.0, 0.0), (1.0, 1.0), grippers=(2,))
