import numpy as np
import pytest
import torch

from dygro_ros.layout import ARM_LOWER, ARM_UPPER
from sim2real.cell.arms import ArmKinematics
from sim2real.cell.hand_geometry import SCALES_M, HandGeometry, forward_kinematics
from sim2real.cell.privileged import LENGTH_SCALE, ORIGIN_M, PRIVILEGED_SLICES
from sim2real.cell.work_cell import WorkCell
from sim2real.seeds import SeedPurpose, seeds_for

CHUNK = 10
ORIGIN = torch.tensor(ORIGIN_M, dtype=torch.float32)


@pytest.mark.parametrize("side", ["left", "right"])
def test_forward_kinematics_agrees_with_the_arm(side):
    rng = np.random.default_rng(0)
    joints = rng.uniform(ARM_LOWER[:6], ARM_UPPER[:6], (20, 6))
    poses = forward_kinematics(torch.tensor(joints), side)
    for index, row in enumerate(joints):
        expected = ArmKinematics(side).forward(row)
        np.testing.assert_allclose(poses.position[index], expected.position, atol=1e-12)
        np.testing.assert_allclose(poses.rotation[index], expected.rotation, atol=1e-12)


@pytest.fixture(scope="module")
def privileged():
    cell = WorkCell(image_size=32)
    try:
        cell.reset("place_empty_cup", seeds_for(SeedPurpose.TESTS, 0, 0, 1)[0])
        state = torch.tensor(cell.privileged_state()).unsqueeze(0)
        yield state
    finally:
        cell.close()


def features(privileged, chunk):
    geometry = HandGeometry(torch.ones(14), CHUNK)
    out = geometry(privileged, chunk)
    assert out.shape == (len(privileged), geometry.size)
    assert bool(torch.isfinite(out).all())
    return out


def test_half_a_millimetre_beside_an_object_shows(privileged):
    hand = forward_kinematics(privileged[:, PRIVILEGED_SLICES["joints"]][:, 7:13], "right").position[0]
    near = privileged.clone()
    near[:, PRIVILEGED_SLICES["object_positions"]] = torch.cat(2 * [(hand - ORIGIN) * LENGTH_SCALE])
    chunk = torch.zeros(1, CHUNK, 14)
    chunk[:, :, 7] = 2.5e-3  # half a millimetre or more at 0.2 m or more
    moved = (features(near, chunk) - features(near, torch.zeros(1, CHUNK, 14))).abs().max()
    assert 0.03 < moved < 0.2


def test_where_a_held_object_would_be(privileged):
    """An object in the hand, 1 cm from its goal: turning the arm by that much brings its offset to zero."""
    joints = privileged[:, PRIVILEGED_SLICES["joints"]][:, 7:13]
    turned = joints.clone()
    turned[:, 0] += 0.03
    here, there = (forward_kinematics(q, "right").position[0] for q in (joints, turned))
    state = privileged.clone()
    state[:, PRIVILEGED_SLICES["object_positions"]] = torch.cat(2 * [(here - ORIGIN) * LENGTH_SCALE])
    state[:, PRIVILEGED_SLICES["object_to_goal"]] = torch.cat(2 * [(there - here) * LENGTH_SCALE])
    chunk = torch.zeros(1, CHUNK, 14)
    chunk[:, -1, 7] = 0.03
    values = 3 * 2 * len(SCALES_M)
    out = features(state, chunk)[0]
    # The last block of the right arm: to objects, carried to goal, rotations, height, gripper.
    tail = CHUNK + len(SCALES_M) + 12
    carried_to_goal = out[len(out) - tail - values : len(out) - tail]
    assert carried_to_goal.abs().max() < 1e-3
    assert features(state, torch.zeros(1, CHUNK, 14))[0][: 3 * 2].abs().max() > 0.3


def test_gradients_pass_to_every_joint_of_the_chunk(privileged):
    chunk = torch.zeros(1, CHUNK, 14, requires_grad=True)
    features(privileged, chunk).sum().backward()
    assert bool((chunk.grad[0, -1].abs() > 0).all())


def test_autocast_does_not_cost_precision(privileged):
    chunk = torch.full((1, CHUNK, 14), 0.01)
    exact = features(privileged, chunk)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(features(privileged, chunk), exact)
