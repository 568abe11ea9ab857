"""Ensemble of chunk critics: K ResMLPs with attention pooling over the executed chunk (paper A.2, Eq. 9-12).

All members are evaluated in one batched product. The state may be the latent, the simulator's privileged
state (asymmetric critic: training only, the actor never sees it), or both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

CriticState = Literal["privileged", "latent", "both"]
# Demonstrations may be many bounds away from the base chunk.
DEVIATION_LIMIT = 4.0


@dataclass(frozen=True)
class CriticConfig:
    """Shape of the critic ensemble."""

    members: int = 2
    """K, critics in the ensemble (the paper does not say how many it uses; Q-chunking uses 10)."""
    width: int = 256
    """Width of each ResMLP."""
    blocks: int = 2
    """Residual blocks of each ResMLP."""
    token_width: int = 32
    """Width of one chunk-step token in the attention pooling."""
    queries: int = 4
    """Learned pooling queries."""
    state: CriticState = "privileged"
    """What a critic sees beside the chunk: privileged (simulator state), latent (z), or both."""


def _batched_linear(members: int, fan_in: int, fan_out: int) -> tuple[nn.Parameter, nn.Parameter]:
    weight = torch.empty(members, fan_in, fan_out)
    bound = 1.0 / math.sqrt(fan_in)
    nn.init.uniform_(weight, -bound, bound)
    return nn.Parameter(weight), nn.Parameter(torch.zeros(members, 1, fan_out))


class _MemberNorm(nn.Module):
    """LayerNorm with its own scale and offset for each member: (K, B, W) -> (K, B, W)."""

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.scale = nn.Parameter(torch.ones(members, 1, width))
        self.offset = nn.Parameter(torch.zeros(members, 1, width))

    def forward(self, hidden: Tensor) -> Tensor:
        return functional.layer_norm(hidden, (self.width,)) * self.scale + self.offset


class CriticEnsemble(nn.Module):
    """Q_1 .. Q_K(s, executed chunk)."""

    bound: Tensor

    def __init__(self, config: CriticConfig, *, state_size: int, chunk: int, bound: Tensor) -> None:
        """Build the ensemble.

        Args:
            config: Shape.
            state_size: Length of the state vector that `forward` gets.
            chunk: h.
            bound: The residual's bound of each action value, (14,): the unit in which critics see it.
        """
        super().__init__()
        self.config = config
        self.register_buffer("bound", bound.clone())
        actions = len(bound)
        members, width, token = config.members, config.width, config.token_width
        self.token_weight, self.token_bias = _batched_linear(members, 2 * actions, token)
        self.position = nn.Parameter(torch.randn(members, 1, chunk, token) * 0.02)
        self.query = nn.Parameter(torch.randn(members, config.queries, token) / math.sqrt(token))
        self.in_weight, self.in_bias = _batched_linear(
            members, state_size + 2 * chunk * actions + config.queries * token, width
        )
        self.in_norm = _MemberNorm(members, width)
        self.block_norms = nn.ModuleList(_MemberNorm(members, width) for _ in range(config.blocks))
        self.block_weights = nn.ParameterList()
        self.block_biases = nn.ParameterList()
        for _ in range(2 * config.blocks):
            weight, bias = _batched_linear(members, width, width)
            self.block_weights.append(weight)
            self.block_biases.append(bias)
        self.out_norm = _MemberNorm(members, width)
        self.out_weight, self.out_bias = _batched_linear(members, width, 1)

    def forward(self, state: Tensor, base: Tensor, chunk: Tensor) -> Tensor:
        """Return the values, (K, B).

        The executed chunk enters as base chunk and deviation from it in units of the residual's bound. As one
        number the deviation would be a few hundredths beside chunks of order one: critics then learn how
        value varies between states, and their slope along the residual is noise.

        Args:
            state: (B, state_size).
            base: Normalised base chunk, (B, h, 14).
            chunk: Normalised executed chunk, (B, h, 14).
        """
        members = self.config.members
        deviation = ((chunk - base) / self.bound).clamp(-DEVIATION_LIMIT, DEVIATION_LIMIT)
        both = torch.cat([base, deviation], dim=-1)
        batch, steps, actions = both.shape
        flat = both.reshape(1, batch * steps, actions).expand(members, -1, -1)
        tokens = torch.baddbmm(self.token_bias, flat, self.token_weight)
        tokens = tokens.view(members, batch, steps, -1) + self.position
        tokens = functional.silu(tokens)
        scores = torch.einsum("kqd,kbhd->kbqh", self.query, tokens)
        pooled = torch.einsum("kbqh,kbhd->kbqd", functional.softmax(scores, dim=-1), tokens)
        shared = torch.cat([state, both.flatten(1)], dim=-1).unsqueeze(0).expand(members, -1, -1)
        hidden = torch.cat([shared, pooled.flatten(2)], dim=-1)
        hidden = functional.silu(self.in_norm(torch.baddbmm(self.in_bias, hidden, self.in_weight)))
        for block, norm in enumerate(self.block_norms):
            inner = torch.baddbmm(self.block_biases[2 * block], norm(hidden), self.block_weights[2 * block])
            inner = torch.baddbmm(
                self.block_biases[2 * block + 1], functional.silu(inner), self.block_weights[2 * block + 1]
            )
            hidden = hidden + inner
        return torch.baddbmm(self.out_bias, self.out_norm(hidden), self.out_weight).squeeze(-1)


class StateScaler(nn.Module):
    """Fixed standardisation of the critic's state, set once from the offline data."""

    mean: Tensor
    scale: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    @torch.no_grad()
    def fit(self, states: Tensor, floor: float = 1e-2) -> None:
        """Set mean and deviation from states (N, size); values that hardly vary keep the floor as scale."""
        self.mean.copy_(states.mean(0))
        self.scale.copy_(states.std(0).clamp_min(floor))

    def forward(self, state: Tensor) -> Tensor:
        """Return the standardised state, clipped to +-10."""
        return ((state - self.mean) / self.scale).clamp(-10.0, 10.0)


@torch.no_grad()
def update_target(target: nn.Module, online: nn.Module, rate: float) -> None:
    """Polyak averaging: target <- (1 - rate) target + rate online."""
    for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
        slow.lerp_(fast, rate)
