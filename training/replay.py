"""Replay buffer of latents: fixed memory, episodes appended whole, uniform sampling of chunks.

A transition's next state is the next chunk of the same episode, so nothing is stored twice. Knows nothing of
networks or simulators.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.episodes import Episode, RewardConfig, chunk_rewards, monte_carlo_returns

_COLUMNS: dict[str, type[np.generic]] = {
    "latent": np.float16,
    "features": np.float16,
    "base": np.float16,
    "privileged": np.float32,
    "executed": np.float16,
    "coefficients": np.float32,
    "log_prob": np.float32,
}


class Batch(NamedTuple):
    """Transitions at chunk boundaries; every tensor float32 but task (int64). B rows."""

    latent: Tensor
    features: Tensor
    base: Tensor
    privileged: Tensor
    executed: Tensor
    coefficients: Tensor
    log_prob: Tensor
    next_latent: Tensor
    next_features: Tensor
    next_base: Tensor
    next_privileged: Tensor
    reward: Tensor
    """r^(h) of Eq. 13, the value of failure included at a time-out."""
    discount: Tensor
    """gamma^h, 0 at the end of an episode."""
    returns: Tensor
    """Monte-Carlo return: V^mu of Eq. 14."""
    task: Tensor


class ReplayBuffer:
    """Ring of transitions; the oldest are overwritten when it is full."""

    def __init__(self, capacity: int, reward: RewardConfig) -> None:
        """Create an empty buffer; memory is taken when the first episode shows the shapes.

        Args:
            capacity: Transitions (chunks) kept.
            reward: Rewards and discount that turn episodes into transitions.
        """
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self.capacity = capacity
        self.reward = reward
        self.size = 0
        self.cursor = 0
        self.columns: dict[str, NDArray[np.generic]] = {}

    def _allocate(self, episode: Episode) -> None:
        for name, dtype in _COLUMNS.items():
            shape = getattr(episode, name).shape[1:]
            self.columns[name] = np.zeros((self.capacity, *shape), dtype=dtype)
        for name in ("reward", "discount", "returns"):
            self.columns[name] = np.zeros(self.capacity, dtype=np.float32)
        self.columns["task"] = np.zeros(self.capacity, dtype=np.int64)
        self.columns["next"] = np.zeros(self.capacity, dtype=np.int64)

    def add(self, episodes: Iterable[Episode]) -> int:
        """Append episodes; returns the number of transitions added."""
        added = 0
        for episode in episodes:
            if episode.chunks > self.capacity:
                raise ValueError(f"an episode of {episode.chunks} chunks exceeds capacity {self.capacity}")
            if not self.columns:
                self._allocate(episode)
            rows = (self.cursor + np.arange(episode.chunks)) % self.capacity
            rewards, discounts = chunk_rewards(episode.valid, episode.success, self.reward)
            values = {name: getattr(episode, name) for name in _COLUMNS}
            values |= {
                "reward": rewards,
                "discount": discounts,
                "returns": monte_carlo_returns(rewards, discounts),
                "task": np.full(episode.chunks, episode.task),
                # The last chunk points at itself: its discount is 0, so what it points at does not matter.
                "next": np.append(rows[1:], rows[-1]),
            }
            for name, column in self.columns.items():
                column[rows] = values[name]
            self.cursor = int((self.cursor + episode.chunks) % self.capacity)
            self.size = min(self.size + episode.chunks, self.capacity)
            added += episode.chunks
        return added

    def sample(self, count: int, rng: np.random.Generator) -> Batch:
        """Draw transitions uniformly with replacement.

        A transition whose successor has just been overwritten (the ring's seam) would pair two episodes: rows
        just before the cursor always end an episode and rows after it keep their successors, so none exists.
        """
        if self.size == 0:
            raise ValueError("the replay buffer is empty")
        return self.take(rng.integers(0, self.size, count))

    def take(self, rows: NDArray[np.int64]) -> Batch:
        """Return given rows as one batch."""
        following = self.columns["next"][rows]

        def column(name: str, index: NDArray[np.int64]) -> Tensor:
            # A copy into torch's own memory: numpy aligns to 16 bytes only, and kernels sum in another order
            # on other alignments, which would change the last bit from run to run.
            return torch.from_numpy(self.columns[name][index]).to(torch.float32, copy=True)

        return Batch(
            **{name: column(name, rows) for name in _COLUMNS},
            **{
                f"next_{name}": column(name, following)
                for name in ("latent", "features", "base", "privileged")
            },
            reward=column("reward", rows),
            discount=column("discount", rows),
            returns=column("returns", rows),
            task=torch.from_numpy(self.columns["task"][rows]),
        )

    def state(self) -> tuple[dict[str, NDArray[np.generic]], dict[str, int]]:
        """Return (arrays, scalars) that restore this buffer; arrays hold the used rows only."""
        arrays = {name: column[: self.size] for name, column in self.columns.items()}
        return arrays, {"size": self.size, "cursor": self.cursor, "capacity": self.capacity}

    def restore(self, arrays: dict[str, NDArray[np.generic]], scalars: dict[str, int]) -> None:
        """Restore from `state()`; raises ValueError when the capacity differs."""
        if scalars["capacity"] != self.capacity:
            raise ValueError(f"buffer capacity is {self.capacity}, the saved one has {scalars['capacity']}")
        self.size, self.cursor = scalars["size"], scalars["cursor"]
        for name, saved in arrays.items():
            column = np.zeros((self.capacity, *saved.shape[1:]), dtype=saved.dtype)
            column[: self.size] = saved
            self.columns[name] = column


def concatenate(*batches: Batch) -> Batch:
    """Join batches (RLPD: half offline, half online)."""
    return Batch(*(torch.cat(columns) for columns in zip(*batches, strict=True)))
