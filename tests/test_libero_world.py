import numpy as np
import pytest
import torch

from dygro_ros.errors import UserError
from models.action_space import ActionSpace
from sim2real.libero.scene_state import LENGTH_SCALE, PRIVILEGED_SIZE, PRIVILEGED_SLICES
from sim2real.libero.world import SCALES_M, STEP_M, LiberoEpisodes, LiberoWorld
from sim2real.seeds import SeedPurpose, seeds_for

WORLD = LiberoWorld(("KITCHEN_SCENE3_turn_on_the_stove",))


class Environment:
    """What is asked of a LiberoEnvironment."""

    def __init__(self):
        self.resets = []

    def reset(self, task, *, state_index=None, seed=None):
        self.resets.append((task, state_index, seed))

    def images(self):
        return np.zeros((2, 4, 4, 3), dtype=np.uint8)


@pytest.fixture
def environment():
    return Environment()


def test_evaluation_seeds_are_the_fixed_states_and_no_other_seed_is(environment):
    episodes = LiberoEpisodes(environment, 2)
    for purpose in SeedPurpose:
        episodes.reset("stove", seeds_for(purpose, 0, 7, 1)[0])
    assert environment.resets[list(SeedPurpose).index(SeedPurpose.EVALUATION)] == ("stove", 7, None)
    assert [state for _, state, _ in environment.resets].count(None) == len(SeedPurpose) - 1
    assert [seed for _, _, seed in environment.resets if seed is not None] == [
        seeds_for(purpose, 0, 7, 1)[0] for purpose in SeedPurpose if purpose is not SeedPurpose.EVALUATION
    ]


@pytest.mark.parametrize("seed", [seeds_for(SeedPurpose.EVALUATION, 0, 50, 1)[0], 200_000])
def test_there_are_fifty_fixed_states(environment, seed):
    with pytest.raises(UserError, match="50 fixed initial states"):
        LiberoEpisodes(environment, 2).reset("stove", seed)
    assert environment.resets == []


def test_a_companion_is_refused(environment):
    with pytest.raises(UserError, match="no companion, got 'cup'"):
        LiberoEpisodes(environment, 2).reset("stove", 1, companion="cup")


def test_a_policy_with_one_camera_gets_one(environment):
    assert LiberoEpisodes(environment, 1).images().shape == (1, 4, 4, 3)
    assert LiberoEpisodes(environment, 2).images().shape == (2, 4, 4, 3)


def test_the_world_s_sizes_agree_with_each_other():
    assert WORLD.layout.size == len(WORLD.action_names) == 7
    assert len(WORLD.proprio_names) == 8
    assert WORLD.object_positions == slice(0, 6)
    assert WORLD.layout.relative == ()  # a step of the hand is relative already


def features(chunk, to_objects):
    space = ActionSpace(np.ones(7), np.zeros(8), np.ones(8), WORLD.layout)
    shown = WORLD.chunk_features(space, chunk.shape[1])
    privileged = torch.zeros(1, PRIVILEGED_SIZE)
    privileged[:, PRIVILEGED_SLICES["hand_to_object"]] = to_objects * LENGTH_SCALE
    values = shown(privileged, chunk)
    assert values.shape == (1, shown.size)
    return values


def test_critics_see_how_far_the_chunk_leaves_the_hand_from_the_objects():
    to_objects = torch.tensor([[0.1, 0.0, -0.02, 0.0, 0.3, 0.0]])
    chunk = torch.zeros(1, 4, 7)
    chunk[:, :, 0] = 0.5
    values = features(chunk, to_objects)[0]
    per_moment = len(SCALES_M) * 6
    last = values[2 * per_moment : 2 * per_moment + 6]  # the finest scale at the chunk's end
    left = to_objects[0].clone()
    left[[0, 3]] -= 4 * 0.5 * STEP_M
    assert torch.allclose(last, torch.tanh(left / SCALES_M[0]), atol=1e-5)


def test_commands_beyond_the_controller_s_range_do_not_count_more():
    chunk = torch.full((1, 4, 7), 3.0)
    assert torch.equal(features(chunk, torch.zeros(1, 6)), features(chunk.clamp(-1, 1), torch.zeros(1, 6)))


def test_the_value_s_gradient_reaches_the_chunk():
    chunk = torch.zeros(1, 4, 7, requires_grad=True)
    features(chunk, torch.full((1, 6), 0.01)).sum().backward()
    assert (chunk.grad[0, :, :3] != 0).all()
