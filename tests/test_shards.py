import numpy as np
import pytest
from stage_two_fixtures import random_episode

from dygro_ros.errors import CheckpointError
from training.episodes import ARRAY_FIELDS
from training.shards import load_episodes, save_episodes


def test_episodes_come_back_equal(tmp_path):
    rng = np.random.default_rng(0)
    episodes = [random_episode(rng, task=i, chunks=i + 1, success=i % 2 == 0, seed=i) for i in range(4)]
    save_episodes(tmp_path / "x.npz", episodes)
    back = load_episodes(tmp_path / "x.npz")
    for one, two in zip(episodes, back, strict=True):
        assert (one.task, one.seed, one.success, one.steps) == (two.task, two.seed, two.success, two.steps)
        for name in ARRAY_FIELDS:
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
            assert getattr(one, name).dtype == getattr(two, name).dtype


@pytest.mark.parametrize("size", [0, 200])
def test_a_truncated_shard_is_named(tmp_path, size):
    path = tmp_path / "x.npz"
    save_episodes(path, [random_episode(np.random.default_rng(0))])
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"x\.npz"):
        load_episodes(path)
