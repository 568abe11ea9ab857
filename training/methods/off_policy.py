"""Buffers and update schedule around DyGRO's learner: warm-up on offline data, then mixed replay (RLPD)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from models.critics import update_target
from models.residual import ResidualPolicy
from sim2real.world import ChunkFeatures
from training.episodes import Episode, RewardConfig
from training.methods.dygro import DygroConfig, DygroLearner
from training.replay import Batch, ReplayBuffer, concatenate

Tick = Callable[[Mapping[str, float]], None]


@dataclass(frozen=True)
class OffPolicyConfig:
    """Learner and schedule of the off-policy methods."""

    learner: DygroConfig = field(default_factory=DygroConfig)
    offline_capacity: int = 100_000
    """Transitions of demonstrations that are kept."""
    online_capacity: int = 100_000
    """Transitions of the latest episodes that are kept: the anchor holds the actor near their policies."""
    warmup_critic_updates: int = 1_500
    """First updates of the critics alone, on Monte-Carlo returns: an actor trained against a critic that has
    seen nothing runs to the edge of its range."""
    warmup_actor_updates: int = 800
    """Then updates of critics and actor."""
    updates_per_transition: float = 0.03
    """Updates after each iteration for each new transition; times the batch: how often each is seen."""
    noise_persistence: float = 0.5
    """Correlation of the exploration noise from chunk to chunk: an offset that stays shows its effect."""


class OffPolicyMethod:
    """`dygro` and `residual`: two buffers and a learner."""

    uses_warmup_episodes = True

    def __init__(
        self,
        config: OffPolicyConfig,
        reward: RewardConfig,
        actor: ResidualPolicy,
        *,
        latent_size: int,
        privileged_size: int,
        seed: int,
        chunk_features: ChunkFeatures | None = None,
        name: str = "dygro",
    ) -> None:
        """Build learner and empty buffers; `name` is shown beside progress."""
        self.name = name
        self.config = config
        self.learner = DygroLearner(
            config.learner,
            reward,
            actor,
            latent_size=latent_size,
            privileged_size=privileged_size,
            seed=seed,
            chunk_features=chunk_features,
        )
        self.offline = ReplayBuffer(config.offline_capacity, reward)
        self.online = ReplayBuffer(config.online_capacity, reward)
        self.rng = np.random.default_rng(seed)

    @property
    def actor(self) -> ResidualPolicy:
        """The policy that explores."""
        return self.learner.actor

    @property
    def average(self) -> ResidualPolicy:
        """The averaged policy: evaluated and exported."""
        return self.learner.average

    @property
    def noise_persistence(self) -> float:
        """Correlation of exploration noise from chunk to chunk."""
        return self.config.noise_persistence

    @property
    def warmup_updates(self) -> int:
        """Updates that `warm_up` makes."""
        return self.config.warmup_critic_updates + self.config.warmup_actor_updates

    def load_offline(self, episodes: Iterable[Episode]) -> None:
        """Fill the offline buffer with demonstrations."""
        self.offline.add(episodes)

    def load_online(self, episodes: Iterable[Episode]) -> None:
        """Append episodes to the online buffer."""
        self.online.add(episodes)

    def warm_up(self, tick: Tick) -> None:
        """Cal-QL warm-up on demonstrations and warm-up episodes; `tick` is called after each update."""
        probe = [self.offline.sample(5_000, self.rng)] if self.offline.size else []
        probe.append(self.online.sample(5_000, self.rng))
        self.learner.fit_scaler(concatenate(*probe))
        for _ in range(self.config.warmup_critic_updates):
            tick(self.learner.update(self._batch(), train_actor=False, on_returns=True))
        update_target(self.learner.targets, self.learner.critics, 1.0)
        for _ in range(self.config.warmup_actor_updates):
            tick(self.learner.update(self._batch()))

    def learn(self, fresh: Sequence[Episode]) -> dict[str, float]:
        """Add an iteration's episodes and update; returns the means of the updates' metrics."""
        added = self.online.add(fresh)
        totals: dict[str, list[float]] = {}
        for _ in range(max(1, round(self.config.updates_per_transition * added))):
            for name, value in self.learner.update(self._batch()).items():
                totals.setdefault(name, []).append(value)
        return {name: float(np.mean(values)) for name, values in totals.items()}

    def _batch(self) -> Batch:
        size = self.config.learner.batch
        offline = round(size * self.config.learner.offline_fraction)
        if offline == 0:
            return self.online.sample(size, self.rng)
        return concatenate(
            self.offline.sample(offline, self.rng), self.online.sample(size - offline, self.rng)
        )

    def modules(self) -> dict[str, nn.Module]:
        """Return everything with weights, by name, for checkpoints."""
        return self.learner.modules()

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers by name, for checkpoints."""
        return self.learner.optimizers()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return loose tensors for checkpoints."""
        return {
            "log_temperature": self.learner.log_temperature.detach(),
            "generator": self.learner.generator.get_state(),
        }

    def scalars(self) -> dict[str, Any]:
        """Return JSON-able state for checkpoints."""
        return {
            "updates": self.learner.updates,
            "rng": self.rng.bit_generator.state,
        }

    def restore(self, tensors: Mapping[str, torch.Tensor], scalars: Mapping[str, Any]) -> None:
        """Restore what `tensors` and `scalars` returned."""
        self.learner.log_temperature.data.copy_(tensors["log_temperature"])
        self.learner.generator.set_state(tensors["generator"])
        self.learner.updates = int(scalars["updates"])
        self.rng.bit_generator.state = scalars["rng"]
