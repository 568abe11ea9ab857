"""Mixture of RL residuals (MoRR): task embedding, router and experts of Stage II (paper 4.2, A.2).

The frozen Stage I policy gives z, the base chunk and pooled features. A small projector turns the features
into the task embedding, a linear router turns the embedding into gates over E experts, and each expert
proposes a bounded residual on the base chunk. This module never sees a task id: ids only supervise the
embedding through the contrastive loss (Eq. 4).

Two decisions where the paper leaves a choice:

* Eq. 5 samples every expert, A.2 says that the mixture gives the mean of ONE factorised Gaussian and an std
  head its deviation. A.2 is followed: the log-probability is then exact, with the tanh correction.
* The Gaussian lives in the coefficients of a small basis over the chunk (constant, or start and end) instead
  of in all h x 14 values: noise is then correlated over the chunk and moves the gripper by millimetres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

Basis = Literal["full", "constant", "linear"]


@dataclass(frozen=True)
class ResidualConfig:
    """Shape of the Stage II policy."""

    experts: int = 8
    """E, the number of residual experts (paper Table 4: 1, 4, 8)."""
    top_m: int = 2
    """Experts that are mixed for one frame; the others get gate 0."""
    width: int = 256
    """Hidden width of each expert."""
    hidden_layers: int = 2
    """Hidden layers of each expert."""
    embedding: int = 32
    """Size of the task embedding."""
    temperature: float = 0.1
    """tau of Eq. 4; embeddings and prototypes are unit vectors, so their dot product is in [-1, 1]."""
    basis: Basis = "linear"
    """How a residual varies over the chunk: linear (start and end), constant, or full (each step free)."""
    alpha: float = 0.1
    """Bound of an arm action's residual, in normalised units (1 = the largest usual motion in a chunk; of
    actions that are not relative, half of what their limits span). It must reach what the base misses by."""
    alpha_gripper: float = 0.3
    """Bound of the residual of a gripper, in normalised units (1 = half the stroke)."""
    std_initial: float = 0.1
    """Deviation of the Gaussian before the tanh, at the start; times alpha it is the exploration noise."""
    learn_std: bool = False
    """Learn the deviation between std_min and std_max; otherwise it stays std_initial. A critic that has seen
    little rates far residuals too well, and a learned deviation then grows to its bound."""
    std_min: float = 0.02
    std_max: float = 0.5

    def __post_init__(self) -> None:
        """Refuse shapes that cannot work."""
        if not 1 <= self.top_m <= self.experts:
            raise ValueError(f"top_m must be between 1 and experts={self.experts}, got {self.top_m}")
        if not self.std_min < self.std_initial < self.std_max:
            raise ValueError("std_initial must lie between std_min and std_max")


class GaussianResidual(NamedTuple):
    """What the Stage II policy says about one batch of frames."""

    mean: Tensor
    """Mean before the tanh, (B, C) with C = basis functions x 14."""
    std: Tensor
    """Deviation before the tanh, (B, C)."""
    gates: Tensor
    """Sparse mixture weights, (B, E): top m of the router's softmax, renormalised; rows sum to 1."""
    router: Tensor
    """The router's whole softmax, (B, E), for the load-balancing term."""
    embedding: Tensor
    """Task embedding, (B, embedding), unit length."""


def chunk_basis(basis: Basis, chunk: int) -> Tensor:
    """Return the basis over the chunk, (h, F): each row sums to 1, so |residual| stays within alpha."""
    if basis == "full":
        return torch.eye(chunk)
    if basis == "constant":
        return torch.ones(chunk, 1)
    ramp = torch.linspace(0.0, 1.0, chunk).unsqueeze(1)
    return torch.cat([1.0 - ramp, ramp], dim=1)


def top_m_gates(probabilities: Tensor, top_m: int) -> Tensor:
    """Keep the m largest of each row and renormalise them (Eq. 5, and the text below Eq. 7).

    Args:
        probabilities: The router's softmax, (B, E).
        top_m: How many to keep.

    Returns:
        Sparse gates, (B, E). Written with comparisons only, so that the exported graph has no scatter.
    """
    values, indices = probabilities.topk(top_m, dim=-1)
    slots = torch.arange(probabilities.shape[-1], device=probabilities.device)
    kept = ((indices.unsqueeze(-1) == slots) * values.unsqueeze(-1)).sum(-2)
    return kept / kept.sum(-1, keepdim=True)


class ExpertBank(nn.Module):
    """E independent MLPs evaluated together: (B, in) -> (B, E, out); the last layer starts at zero."""

    def __init__(self, experts: int, inputs: int, width: int, hidden_layers: int, outputs: int) -> None:
        super().__init__()
        sizes = [inputs, *([width] * hidden_layers), outputs]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            last = len(self.weights) == hidden_layers
            scale = 0.0 if last else math.sqrt(2.0 / fan_in)
            self.weights.append(nn.Parameter(torch.randn(experts, fan_in, fan_out) * scale))
            self.biases.append(nn.Parameter(torch.zeros(experts, 1, fan_out)))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(hidden_layers))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return every expert's output, (B, E, out), for inputs (B, in)."""
        hidden = inputs.unsqueeze(0).expand(self.weights[0].shape[0], -1, -1)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            if layer < len(self.norms):
                hidden = functional.silu(self.norms[layer](hidden))
        return hidden.transpose(0, 1)


class ResidualPolicy(nn.Module):
    """Task embedding, router, experts and std head on frozen Stage I outputs."""

    basis: Tensor
    bound: Tensor
    is_gripper: Tensor

    def __init__(
        self,
        config: ResidualConfig,
        *,
        latent_size: int,
        feature_size: int,
        chunk: int,
        actions: int,
        tasks: int,
        grippers: tuple[int, ...],
    ) -> None:
        """Build the policy.

        Args:
            config: Shape of experts, router and residual.
            latent_size: Z x D, the flattened latent.
            feature_size: F, the frozen features that the task embedding projects.
            chunk: h.
            actions: Values of one action (14).
            tasks: N of Eq. 4, the training tasks; prototypes are used by the contrastive loss alone.
            grippers: Indices of the grippers in an action.
        """
        super().__init__()
        self.config = config
        self.chunk = chunk
        self.actions = actions
        self.register_buffer("basis", chunk_basis(config.basis, chunk))
        bound = torch.full((actions,), config.alpha)
        bound[list(grippers)] = config.alpha_gripper
        self.register_buffer("bound", bound)
        is_gripper = torch.zeros(actions, dtype=torch.bool)
        is_gripper[list(grippers)] = True
        self.register_buffer("is_gripper", is_gripper)
        self.coefficients = self.basis.shape[1] * actions
        self.latent_norm = nn.LayerNorm(latent_size)
        self.projector = nn.Sequential(
            nn.LayerNorm(feature_size),
            nn.Linear(feature_size, 64),
            nn.SiLU(),
            nn.Linear(64, config.embedding),
        )
        self.prototypes = nn.Parameter(functional.normalize(torch.randn(tasks, config.embedding), dim=-1))
        self.router = nn.Linear(config.embedding, config.experts)
        inputs = latent_size + chunk * actions
        self.experts = ExpertBank(
            config.experts, inputs, config.width, config.hidden_layers, self.coefficients
        )
        self.std_head = nn.Linear(latent_size, self.coefficients)
        nn.init.zeros_(self.std_head.weight)
        span = math.log(config.std_max) - math.log(config.std_min)
        start = (math.log(config.std_initial) - math.log(config.std_min)) / span
        nn.init.constant_(self.std_head.bias, math.log(start / (1.0 - start)))

    def forward(self, latent: Tensor, base: Tensor, features: Tensor) -> GaussianResidual:
        """Return the residual's distribution.

        Args:
            latent: Flattened z, (B, Z x D).
            base: Normalised base chunk, (B, h, 14).
            features: Frozen features, (B, F).
        """
        embedding = functional.normalize(self.projector(features), dim=-1)
        router = functional.softmax(self.router(embedding), dim=-1)
        gates = top_m_gates(router, self.config.top_m)
        latent = self.latent_norm(latent)
        proposals = self.experts(torch.cat([latent, base.flatten(1)], dim=-1))
        mean = (gates.unsqueeze(-1) * proposals).sum(1)
        low, high = math.log(self.config.std_min), math.log(self.config.std_max)
        std = torch.exp(low + (high - low) * torch.sigmoid(self.std_head(latent)))
        if not self.config.learn_std:
            std = torch.full_like(std, self.config.std_initial)
        return GaussianResidual(mean, std, gates, router, embedding)

    def residual(self, coefficients: Tensor) -> Tensor:
        """Map tanh-squashed coefficients (B, C) in [-1, 1] to a residual chunk (B, h, 14)."""
        per_function = coefficients.unflatten(-1, (self.basis.shape[1], self.actions))
        return torch.einsum("hf,bfa->bha", self.basis, per_function) * self.bound

    def compose(self, base: Tensor, coefficients: Tensor) -> Tensor:
        """Return the normalised executed chunk: base + residual, grippers kept in their stroke [-1, 1]."""
        chunk = base + self.residual(coefficients)
        return torch.where(self.is_gripper, chunk.clamp(-1.0, 1.0), chunk)

    def deterministic(
        self, latent: Tensor, base: Tensor, features: Tensor
    ) -> tuple[Tensor, GaussianResidual]:
        """Return the executed chunk with the mean residual, and the distribution."""
        out = self(latent, base, features)
        return self.compose(base, torch.tanh(out.mean)), out

    def contrastive_loss(self, embedding: Tensor, task: Tensor) -> Tensor:
        """InfoNCE of the task embedding against the learnable prototypes (Eq. 4).

        Args:
            embedding: Unit task embeddings, (B, embedding).
            task: Task ids, (B,) int64: supervision only.
        """
        prototypes = functional.normalize(self.prototypes, dim=-1)
        return functional.cross_entropy(embedding @ prototypes.T / self.config.temperature, task)


def load_balancing_loss(router: Tensor, epsilon: float = 1e-8) -> Tensor:
    """Negative entropy of the batch-average router distribution (Eq. 7); (B, E) -> scalar."""
    average = router.mean(0)
    return (average * torch.log(average + epsilon)).sum()


def sample_coefficients(out: GaussianResidual, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Sample tanh-squashed coefficients and their log-probability (A.2).

    Args:
        out: Distribution for (B, C).
        noise: Standard normal noise, (B, C).

    Returns:
        Coefficients in (-1, 1), (B, C), and the log-density of the coefficients, (B,).
    """
    before = out.mean + out.std * noise
    return torch.tanh(before), squashed_log_prob(out.mean, out.std, before)


def squashed_log_prob(mean: Tensor, std: Tensor, before: Tensor) -> Tensor:
    """Log-density of tanh(before) where before ~ N(mean, std); (B, C) -> (B,).

    log(1 - tanh(x)^2) is written as 2 (log 2 - x - softplus(-2x)), which does not lose digits at large x.
    """
    normal = -0.5 * ((before - mean) / std) ** 2 - torch.log(std) - 0.5 * math.log(2.0 * math.pi)
    correction = 2.0 * (math.log(2.0) - before - functional.softplus(-2.0 * before))
    return (normal - correction).sum(-1)
