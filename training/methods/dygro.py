"""DyGRO's off-policy learner: MoRR actor, critic ensemble, Cal-QL calibration (paper 4.2, A.2).

`residual` is this file with one expert and without the routing losses. Knows batches of latents; nothing of
simulators, files or rollouts.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from models.critics import CriticConfig, CriticEnsemble, StateScaler, update_target
from models.residual import (
    GaussianResidual,
    ResidualConfig,
    ResidualPolicy,
    load_balancing_loss,
    sample_coefficients,
)
from sim2real.world import ChunkFeatures
from training.episodes import RewardConfig
from training.monitor import check_finite_tensors, named_gradients
from training.replay import Batch

Aggregation = Literal["min", "mean", "min_of_two"]
Calibration = Literal["expectation", "logsumexp"]


@dataclass(frozen=True)
class DygroConfig:
    """Hyper-parameters of the off-policy learner."""

    residual: ResidualConfig = field(default_factory=ResidualConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    batch: int = 512
    """Transitions an update sees."""
    offline_fraction: float = 0.1
    """Share of each batch from demonstrations (RLPD: 0.5)."""
    critic_learning_rate: float = 5e-4
    critic_weight_decay: float = 1e-2
    """Decay of the critics' weights: every outcome is seen many times, and most of it is chance."""
    actor_learning_rate: float = 2e-4
    return_weight: float = 0.8
    """Share of the episode's own return in the critics' target; the rest is the h-step TD target. What
    a residual of millimetres does shows in how an episode ends before any network's next value shows it."""
    target_rate: float = 0.005
    """Polyak rate of the target critics."""
    target_aggregation: Aggregation = "min"
    """How target critics are joined (Eq. 10 says min over all; min_of_two draws two of them)."""
    calibration: Calibration = "expectation"
    """Cal-QL regulariser: Eq. 14 as printed, or the importance-sampled log-sum-exp of Cal-QL's own code."""
    calibration_weight: float = 0.1
    """lambda_Cal of Eq. 9."""
    calibration_samples: int = 4
    """Actions of each kind in the log-sum-exp."""
    actor_interval: int = 1
    """Critic updates for each actor update."""
    anchor_weight: float = 50.0
    """Weight of the mean squared distance between the actor's coefficients and those that were executed: a
    trust region around the policies whose episodes are in the replay (after TD3+BC, arXiv 2106.06860). Far
    from them the critics are wrong, and in many dimensions there is always a direction in which they are."""
    actor_pessimism: float = 0.0
    """The actor climbs the ensemble's mean minus this times its deviation (Eq. 6: 0)."""
    temperature_initial: float = 0.01
    """Entropy temperature in front of log pi in Eq. 6 (the paper prints none, which means 1)."""
    temperature_learning_rate: float = 1e-4
    """0 keeps the temperature fixed; without a learned deviation it has no effect."""
    target_std: float = 0.1
    """Deviation before the tanh whose entropy is the target of the learned temperature."""
    contrastive_weight: float = 0.05
    """lambda_CL of Eq. 8."""
    balance_weight: float = 0.05
    """lambda_LB of Eq. 8."""
    gradient_clip: float = 40.0
    actor_average: float = 0.999
    """Decay of the averaged actor, which is what is evaluated and exported."""
    bf16: bool = True
    """Compute critics and experts in bfloat16 autocast."""


class DygroLearner:
    """Actor, critics, their targets and optimisers."""

    def __init__(
        self,
        config: DygroConfig,
        reward: RewardConfig,
        actor: ResidualPolicy,
        *,
        latent_size: int,
        privileged_size: int,
        seed: int,
        chunk_features: ChunkFeatures | None = None,
    ) -> None:
        """Build the learner.

        Args:
            config: Hyper-parameters.
            reward: Fixes the range of possible values, to which targets are clipped.
            actor: A freshly built residual policy; trained in place.
            latent_size: Z x D.
            privileged_size: P.
            seed: Of the learner's own noise.
            chunk_features: What critics are also shown of a chunk, where the simulator can tell.
        """
        self.config = config
        self.reward = reward
        self.actor = actor
        self.average = copy.deepcopy(actor).requires_grad_(False)
        size = {"privileged": privileged_size, "latent": latent_size, "both": latent_size + privileged_size}[
            config.critic.state
        ]
        self.scaler = StateScaler(size)
        self.chunk_features = chunk_features
        size += 0 if chunk_features is None else chunk_features.size
        self.critics = CriticEnsemble(config.critic, state_size=size, chunk=actor.chunk, bound=actor.bound)
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature_initial)))
        self.critic_optimizer = torch.optim.AdamW(
            self.critics.parameters(),
            lr=config.critic_learning_rate,
            weight_decay=config.critic_weight_decay,
        )
        self.actor_optimizer = torch.optim.AdamW(
            actor.parameters(), lr=config.actor_learning_rate, weight_decay=1e-4
        )
        self.temperature_optimizer = torch.optim.Adam(
            [self.log_temperature], lr=config.temperature_learning_rate
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.updates = 0
        self.target_entropy = actor.coefficients * (
            0.5 * math.log(2.0 * math.pi * math.e) + math.log(config.target_std)
        )

    def _values(
        self, critics: CriticEnsemble, latent: Tensor, privileged: Tensor, base: Tensor, chunk: Tensor
    ) -> Tensor:
        """Return each critic's value of a chunk, (K, B), in single precision."""
        state = self.scaler(self._seen(latent, privileged))
        if self.chunk_features is not None:
            state = torch.cat([state, self.chunk_features(privileged, chunk)], dim=-1)
        with self._autocast():
            return critics(state, base, chunk).float()

    def fit_scaler(self, batch: Batch) -> None:
        """Set the critics' input standardisation from one large batch of offline data."""
        self.scaler.fit(self._seen(batch.latent, batch.privileged))

    def _seen(self, latent: Tensor, privileged: Tensor) -> Tensor:
        """Return what the configuration shows to critics of a state."""
        kind = self.config.critic.state
        if kind == "both":
            return torch.cat([latent, privileged], dim=-1)
        return privileged if kind == "privileged" else latent

    def _noise(self, count: int) -> Tensor:
        return torch.randn(count, self.actor.coefficients, generator=self.generator)

    def _propose(
        self, latent: Tensor, base: Tensor, features: Tensor
    ) -> tuple[Tensor, Tensor, GaussianResidual]:
        """Sample executed chunks from the actor; returns (chunk, log-density, distribution)."""
        with self._autocast():
            out = self.actor(latent, base, features)
        out = GaussianResidual(*(tensor.float() for tensor in out))
        coefficients, log_prob = sample_coefficients(out, self._noise(len(latent)))
        return self.actor.compose(base, coefficients), log_prob, out

    def _aggregate(self, values: Tensor) -> Tensor:
        """Join target critics, (K, B) -> (B,) (Eq. 10 and its options)."""
        if self.config.target_aggregation == "mean":
            return values.mean(0)
        if self.config.target_aggregation == "min_of_two":
            picks = torch.randperm(len(values), generator=self.generator)[:2]
            values = values[picks]
        return values.min(0).values

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.config.bf16)

    def critic_update(self, batch: Batch, *, on_returns: bool = False) -> dict[str, float]:
        """One step on Eq. 9: h-step TD (Eq. 11-13) and Cal-QL calibration (Eq. 14).

        Args:
            batch: Transitions.
            on_returns: Regress on the Monte-Carlo returns instead of the bootstrapped target: the value of
                the policies that made the data, learned in a fraction of the updates that TD takes.
        """
        own = 1.0 if on_returns else self.config.return_weight
        target = batch.returns
        if own < 1.0:
            target = own * target + (1.0 - own) * self._bootstrapped(batch)
        values = self._values(self.critics, batch.latent, batch.privileged, batch.base, batch.executed)
        td_loss = (values - target).square().mean(1).sum()
        loss = td_loss
        calibration = torch.zeros(())
        if self.config.calibration_weight > 0.0:
            calibration = self._calibration(batch, values)
            loss = loss + self.config.calibration_weight * calibration
        self.critic_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.critics.parameters(), self.config.gradient_clip)
        if not bool(torch.isfinite(norm)):
            check_finite_tensors(self.updates, named_gradients(self.critics), "critic gradient")
        self.critic_optimizer.step()
        update_target(self.targets, self.critics, self.config.target_rate)
        return {
            "td_loss": float(td_loss.detach()) / len(values),
            "calibration": float(calibration.detach()),
            "q_data": float(values.detach().mean()),
            "q_spread": float(values.detach().std(0).mean()),
            "target": float(target.mean()),
            "critic_gradient": float(norm),
        }

    @torch.no_grad()
    def _bootstrapped(self, batch: Batch) -> Tensor:
        """Return the h-step TD target (Eq. 11-13), (B,), kept within what any policy can get."""
        following, _, _ = self._propose(batch.next_latent, batch.next_base, batch.next_features)
        next_values = self._values(
            self.targets, batch.next_latent, batch.next_privileged, batch.next_base, following
        )
        target = batch.reward + batch.discount * self._aggregate(next_values)
        return target.clamp(self.reward.failure_value, self.reward.success)

    def _calibration(self, batch: Batch, values: Tensor) -> Tensor:
        """Cal-QL regulariser summed over members (Eq. 14, or its log-sum-exp form)."""
        bound = batch.returns
        with torch.no_grad():
            proposed, log_prob, _ = self._propose(batch.latent, batch.base, batch.features)
        if self.config.calibration == "expectation":
            proposed_values = self._values(self.critics, batch.latent, batch.privileged, batch.base, proposed)
            return (torch.maximum(proposed_values, bound) - values).mean(1).sum()
        # arXiv 2303.05479's code: log-sum-exp over random and policy actions, each minus its log-density.
        chunks, densities = [proposed], [log_prob]
        uniform = -self.actor.coefficients * math.log(2.0)
        for _ in range(self.config.calibration_samples):
            random = 2.0 * torch.rand(len(proposed), self.actor.coefficients, generator=self.generator) - 1.0
            chunks.append(self.actor.compose(batch.base, random))
            densities.append(torch.full_like(log_prob, uniform))
        stacked = torch.stack(
            [
                self._values(self.critics, batch.latent, batch.privileged, batch.base, chunk)
                for chunk in chunks
            ]
        )
        calibrated = torch.maximum(stacked, bound) - torch.stack(densities).unsqueeze(1)
        pooled = torch.logsumexp(calibrated, dim=0) - math.log(len(chunks))
        return (pooled - values).mean(1).sum()

    def actor_update(self, batch: Batch) -> dict[str, float]:
        """One step on Eq. 8: Eq. 6 with a temperature, Eq. 4 and Eq. 7, and the anchor."""
        config = self.config
        proposed, log_prob, out = self._propose(batch.latent, batch.base, batch.features)
        # The slow critics: averaged over updates, their slope holds less of the last batches' chance.
        values = self._values(self.targets, batch.latent, batch.privileged, batch.base, proposed)
        temperature = self.log_temperature.exp().detach()
        objective = values.mean(0) - config.actor_pessimism * values.std(0, correction=0)
        reinforcement = (temperature * log_prob - objective).mean()
        coefficients = torch.tanh(out.mean)
        # Demonstrations were not made by a residual: they anchor nothing.
        apart = (coefficients - batch.coefficients).nan_to_num(nan=0.0).square().mean()
        loss = reinforcement + config.anchor_weight * apart
        contrastive = self.actor.contrastive_loss(out.embedding, batch.task)
        balance = load_balancing_loss(out.router)
        if config.residual.experts > 1:
            loss = loss + config.contrastive_weight * contrastive + config.balance_weight * balance
        self.actor_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.actor.parameters(), config.gradient_clip)
        if not bool(torch.isfinite(norm)):
            check_finite_tensors(self.updates, named_gradients(self.actor), "actor gradient")
        self.actor_optimizer.step()
        update_target(self.average, self.actor, 1.0 - config.actor_average)
        if config.residual.learn_std and config.temperature_learning_rate > 0.0:
            gap = (log_prob.detach().mean() + self.target_entropy) / self.actor.coefficients
            temperature_loss = -self.log_temperature.exp() * gap
            self.temperature_optimizer.zero_grad(set_to_none=True)
            temperature_loss.backward()
            self.temperature_optimizer.step()
        return {
            "actor_loss": float(reinforcement.detach()),
            "q_policy": float(values.detach().mean()),
            "residual_rms": float(coefficients.detach().square().mean().sqrt()),
            "std": float(out.std.detach().mean()),
            "temperature": float(temperature),
            "contrastive": float(contrastive.detach()),
            "task_accuracy": self._task_accuracy(out.embedding, batch.task),
            "gate_entropy": float(-balance.detach()),
            "actor_gradient": float(norm),
        }

    @torch.no_grad()
    def _task_accuracy(self, embedding: Tensor, task: Tensor) -> float:
        prototypes = nn.functional.normalize(self.actor.prototypes, dim=-1)
        return float(((embedding @ prototypes.T).argmax(-1) == task).float().mean())

    def update(self, batch: Batch, *, train_actor: bool = True, on_returns: bool = False) -> dict[str, float]:
        """One critic step and, every `actor_interval` steps, one actor step."""
        self.updates += 1
        metrics = self.critic_update(batch, on_returns=on_returns)
        if train_actor and self.updates % self.config.actor_interval == 0:
            metrics |= self.actor_update(batch)
        return metrics

    def modules(self) -> dict[str, nn.Module]:
        """Return everything with weights, by name, for checkpoints."""
        return {
            "actor": self.actor,
            "average": self.average,
            "critics": self.critics,
            "targets": self.targets,
            "scaler": self.scaler,
        }

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers by name, for checkpoints."""
        return {
            "critic": self.critic_optimizer,
            "actor": self.actor_optimizer,
            "temperature": self.temperature_optimizer,
        }
