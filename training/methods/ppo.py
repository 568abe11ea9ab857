"""PPO on the same bounded residual: a small on-policy baseline (arXiv 1707.06347), kept to be beaten.

One file, every hyper-parameter beside its meaning (after CleanRL). The actor is the residual policy with one
expert; the value network sees what DyGRO's critics see. Knows batches of latents; nothing of simulators.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.critics import StateScaler, update_target
from models.residual import ResidualConfig, ResidualPolicy, squashed_log_prob
from training.episodes import Episode, RewardConfig, chunk_rewards
from training.monitor import check_finite_tensors, named_gradients


@dataclass(frozen=True)
class PpoConfig:
    """Hyper-parameters of PPO."""

    residual: ResidualConfig = field(
        default_factory=lambda: ResidualConfig(experts=1, top_m=1, std_initial=0.15, learn_std=True)
    )
    learning_rate: float = 5e-5
    """Of the actor: its output layer sees 256 inputs, and at 3e-4 one pass moves it ten times too far."""
    value_learning_rate: float = 1e-3
    gae_lambda: float = 0.95
    """lambda of generalised advantage estimation, per chunk."""
    clip: float = 0.2
    """Range of the probability ratio."""
    epochs: int = 5
    """Passes over one iteration's data."""
    minibatch: int = 512
    entropy_weight: float = 0.0
    target_kl: float = 0.03
    """Passes stop when the approximate KL exceeds this."""
    gradient_clip: float = 1.0
    value_width: int = 256
    actor_average: float = 0.9
    """Decay per iteration of the averaged actor, which is what is evaluated and exported."""


def generalised_advantages(
    rewards: np.ndarray, discounts: np.ndarray, values: np.ndarray, gae_lambda: float
) -> np.ndarray:
    """Return GAE advantages of one episode, (n,).

    Args:
        rewards: h-step rewards, (n,).
        discounts: Next-value discounts, (n,), 0 at the end.
        values: V of each chunk's state, (n,).
        gae_lambda: lambda.
    """
    advantages = np.zeros(len(rewards), dtype=np.float32)
    following = 0.0
    for index in range(len(rewards) - 1, -1, -1):
        next_value = float(values[index + 1]) if index + 1 < len(values) else 0.0
        error = float(rewards[index]) + float(discounts[index]) * next_value - float(values[index])
        following = error + float(discounts[index]) * gae_lambda * following
        advantages[index] = following
    return advantages


class PpoLearner:
    """Actor, value network and their optimisers."""

    def __init__(
        self,
        config: PpoConfig,
        reward: RewardConfig,
        actor: ResidualPolicy,
        *,
        privileged_size: int,
        seed: int,
    ) -> None:
        """Build the learner; `actor` is trained in place."""
        self.config = config
        self.reward = reward
        self.actor = actor
        self.average = copy.deepcopy(actor).requires_grad_(False)
        self.scaler = StateScaler(privileged_size)
        width = config.value_width
        self.value = nn.Sequential(
            nn.Linear(privileged_size, width), nn.LayerNorm(width), nn.SiLU(),
            nn.Linear(width, width), nn.LayerNorm(width), nn.SiLU(),
            nn.Linear(width, 1),
        )  # fmt: skip
        self.actor_optimizer = torch.optim.Adam(actor.parameters(), lr=config.learning_rate, eps=1e-5)
        self.value_optimizer = torch.optim.Adam(
            self.value.parameters(), lr=config.value_learning_rate, eps=1e-5
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.iterations = 0

    def fit_scaler(self, episodes: Sequence[Episode]) -> None:
        """Set the value network's input standardisation from the first episodes."""
        self.scaler.fit(torch.from_numpy(np.concatenate([episode.privileged for episode in episodes])))

    def _value(self, privileged: Tensor) -> Tensor:
        return self.value(self.scaler(privileged)).squeeze(-1)

    def update(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """One PPO iteration on freshly sampled episodes."""
        config = self.config
        self.iterations += 1
        stack = {
            name: torch.from_numpy(
                np.concatenate([getattr(episode, name) for episode in episodes]).astype(np.float32)
            )
            for name in ("latent", "features", "base", "privileged", "coefficients", "log_prob")
        }
        with torch.no_grad():
            values = self._value(stack["privileged"]).numpy()
        advantages, start = [], 0
        for episode in episodes:
            rewards, discounts = chunk_rewards(episode.valid, episode.success, self.reward)
            own = values[start : start + episode.chunks]
            advantages.append(generalised_advantages(rewards, discounts, own, config.gae_lambda))
            start += episode.chunks
        advantage = torch.from_numpy(np.concatenate(advantages))
        returns = advantage + torch.from_numpy(values)
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        # Coefficients are tanh(x); x is recovered once, away from the edges where atanh has no digits left.
        before = torch.atanh(stack["coefficients"].clamp(-0.999999, 0.999999))
        metrics: dict[str, float] = {}
        for epoch in range(config.epochs):
            order = torch.randperm(len(advantage), generator=self.generator)
            divergences = []
            for rows in order.split(config.minibatch):
                out = self.actor(stack["latent"][rows], stack["base"][rows], stack["features"][rows])
                log_ratio = squashed_log_prob(out.mean, out.std, before[rows]) - stack["log_prob"][rows]
                ratio = log_ratio.exp()
                clipped = ratio.clamp(1.0 - config.clip, 1.0 + config.clip)
                policy_loss = -torch.minimum(ratio * advantage[rows], clipped * advantage[rows]).mean()
                entropy = (torch.log(out.std) + 0.5 * math.log(2.0 * math.pi * math.e)).sum(-1).mean()
                value_loss = (self._value(stack["privileged"][rows]) - returns[rows]).square().mean()
                self._step(policy_loss - config.entropy_weight * entropy, self.actor_optimizer, self.actor)
                self._step(value_loss, self.value_optimizer, self.value)
                divergences.append(float((ratio - 1.0 - log_ratio).detach().mean()))
                metrics = {
                    "policy_loss": float(policy_loss.detach()),
                    "value_loss": float(value_loss.detach()),
                    "entropy": float(entropy.detach()),
                    "std": float(out.std.detach().mean()),
                    "residual_rms": float(torch.tanh(out.mean.detach()).square().mean().sqrt()),
                }
            metrics |= {"kl": float(np.mean(divergences)), "epochs": float(epoch + 1)}
            if metrics["kl"] > config.target_kl:
                break
        update_target(self.average, self.actor, 1.0 - config.actor_average)
        spread = float(returns.var())
        metrics["explained_variance"] = 1.0 - float((returns - torch.from_numpy(values)).var()) / max(
            spread, 1e-8
        )
        return metrics

    def _step(self, loss: Tensor, optimizer: torch.optim.Optimizer, module: nn.Module) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(module.parameters(), self.config.gradient_clip)
        if not bool(torch.isfinite(norm)):
            check_finite_tensors(self.iterations, named_gradients(module), "gradient")
        optimizer.step()

    def modules(self) -> dict[str, nn.Module]:
        """Return everything with weights, by name, for checkpoints."""
        return {"actor": self.actor, "average": self.average, "value": self.value, "scaler": self.scaler}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers by name, for checkpoints."""
        return {"actor": self.actor_optimizer, "value": self.value_optimizer}


class PpoMethod:
    """PPO behind the interface of the off-policy methods: no buffers; the warm-up only fits the scaler."""

    name = "ppo"
    warmup_updates = 0
    uses_warmup_episodes = False
    noise_persistence = 0.0  # the probability ratio is of each chunk by itself

    def __init__(
        self,
        config: PpoConfig,
        reward: RewardConfig,
        actor: ResidualPolicy,
        *,
        privileged_size: int,
        seed: int,
    ) -> None:
        """Build the learner."""
        self.learner = PpoLearner(config, reward, actor, privileged_size=privileged_size, seed=seed)
        self._probe: list[Episode] = []

    @property
    def actor(self) -> ResidualPolicy:
        """The policy that explores."""
        return self.learner.actor

    @property
    def average(self) -> ResidualPolicy:
        """The averaged policy: evaluated and exported."""
        return self.learner.average

    def load_offline(self, episodes: Iterable[Episode]) -> None:
        """Demonstrations are of no use to PPO: it learns from its own samples only."""

    def load_online(self, episodes: Iterable[Episode]) -> None:
        """Keep the first episodes for the scaler; older samples are never reused."""
        if not self._probe:
            self._probe = list(episodes)

    def warm_up(self, tick: Callable[[Mapping[str, float]], None]) -> None:
        """Set the value network's input standardisation from the warm-up episodes."""
        self.learner.fit_scaler(self._probe)

    def learn(self, fresh: Sequence[Episode]) -> dict[str, float]:
        """One PPO iteration."""
        return self.learner.update(fresh)

    def modules(self) -> dict[str, nn.Module]:
        """Return everything with weights, by name, for checkpoints."""
        return self.learner.modules()

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers by name, for checkpoints."""
        return self.learner.optimizers()

    def tensors(self) -> dict[str, Tensor]:
        """Return loose tensors for checkpoints."""
        return {"generator": self.learner.generator.get_state()}

    def scalars(self) -> dict[str, Any]:
        """Return JSON-able state for checkpoints."""
        return {"iterations": self.learner.iterations}

    def restore(self, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Restore what `tensors` and `scalars` returned."""
        self.learner.generator.set_state(tensors["generator"])
        self.learner.iterations = int(scalars["iterations"])
