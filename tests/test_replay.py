import numpy as np
import pytest
import torch
from stage_two_fixtures import random_episode

from training.episodes import RewardConfig
from training.replay import ReplayBuffer, concatenate

REWARD = RewardConfig()


def test_a_transition_is_followed_by_its_episodes_next_chunk():
    rng = np.random.default_rng(0)
    episode = random_episode(rng, chunks=4)
    buffer = ReplayBuffer(10, REWARD)
    assert buffer.add([random_episode(rng), episode]) == 8
    batch = buffer.take(np.array([4, 5, 6, 7]))
    np.testing.assert_array_equal(batch.latent.numpy(), episode.latent.astype(np.float32))
    np.testing.assert_array_equal(batch.next_privileged[:3].numpy(), episode.privileged[1:])
    assert batch.discount[3] == 0 and (batch.discount[:3] > 0).all()


def test_the_ring_never_pairs_two_episodes():
    rng = np.random.default_rng(1)
    buffer = ReplayBuffer(11, REWARD)
    written = []
    for number in range(12):
        episode = random_episode(rng, chunks=int(rng.integers(1, 5)), success=bool(number % 2))
        buffer.add([episode])
        written.append(episode)
        batch = buffer.take(np.arange(buffer.size))
        followers = {
            tuple(e.privileged[i]): e.privileged[i + 1] for e in written for i in range(e.chunks - 1)
        }
        for row in range(buffer.size):
            if batch.discount[row] > 0:
                expected = followers[tuple(batch.privileged[row].numpy())]
                np.testing.assert_array_equal(batch.next_privileged[row].numpy(), expected)
    assert buffer.size == 11


def test_restoring_gives_the_same_samples():
    rng = np.random.default_rng(2)
    buffer = ReplayBuffer(20, REWARD)
    buffer.add(random_episode(rng, task=i % 4) for i in range(7))
    twin = ReplayBuffer(20, REWARD)
    twin.restore(*buffer.state())
    one, two = (b.sample(32, np.random.default_rng(3)) for b in (buffer, twin))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    with pytest.raises(ValueError, match="capacity"):
        ReplayBuffer(21, REWARD).restore(*buffer.state())


def test_an_empty_buffer_cannot_be_sampled():
    with pytest.raises(ValueError, match="empty"):
        ReplayBuffer(5, REWARD).sample(1, np.random.default_rng(0))


def test_concatenate_keeps_every_column():
    rng = np.random.default_rng(4)
    buffer = ReplayBuffer(20, REWARD)
    buffer.add([random_episode(rng)])
    half = buffer.sample(3, rng)
    assert all(len(column) == 6 for column in concatenate(half, half))
