"""Bridge attention (VLA-Adapter, arXiv 2509.09372; DyGRO-VLA, A.1): latent queries read the backbone.

One fusion layer per backbone layer. In each, Z query tokens attend in ONE softmax over three branches:
themselves, the layer's action tokens with the proprioception tokens, and the layer's conditioning tokens
(vision AND language).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BridgeAttention(nn.Module):
    """One fusion layer: gated attention over three branches, then an MLP.

    With logits s and gate g >= 0, token j of the conditioning branch gets the weight

        g exp(s_j) / (sum_self exp(s) + sum_action exp(s) + g sum_conditioning exp(s)),

    so g = 0 removes the branch, its share of the normaliser included, and g = 1 is plain attention.
    (VLA-Adapter multiplies the branch's logits by tanh(g): there 0 means uniform attention to it, not none.)
    The parameter is log g, which keeps g positive and its relative step size constant.

    Args:
        width: Token width W.
        heads: Attention heads; W is a multiple.
        expansion: Hidden width of the MLP in multiples of W.
    """

    def __init__(self, width: int, heads: int, expansion: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.log_gate = nn.Parameter(torch.zeros(()))
        self.norm_query = nn.LayerNorm(width)
        self.norm_action = nn.LayerNorm(width)
        self.norm_conditioning = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value_self = nn.Linear(width, 2 * width)
        self.key_value_action = nn.Linear(width, 2 * width)
        self.key_value_conditioning = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.up = nn.Linear(width, expansion * width)
        self.down = nn.Linear(expansion * width, width)

    @property
    def gate(self) -> Tensor:
        """The gate g = exp(log_gate), a scalar >= 0."""
        return self.log_gate.exp()

    def forward(
        self, queries: Tensor, action: Tensor, conditioning: Tensor, penalty: Tensor | None = None
    ) -> Tensor:
        """Return updated queries, shape (B, Z, W).

        Args:
            queries: Shape (B, Z, W).
            action: Action hidden states and proprioception tokens, shape (B, A, W).
            conditioning: Vision and language hidden states, shape (B, C, W).
            penalty: Added to the conditioning's logits, shape (B, 1, 1, C); very negative removes a token.
        """
        x = self.norm_query(queries)
        key_value = torch.cat(
            (
                self.key_value_self(x),
                self.key_value_action(self.norm_action(action)),
                self.key_value_conditioning(self.norm_conditioning(conditioning)),
            ),
            dim=1,
        )
        key, value = key_value.unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        query = self.query(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        logits = (query @ key.transpose(2, 3)) * (query.shape[-1] ** -0.5)
        ungated = queries.shape[1] + action.shape[1]
        given = logits[..., ungated:] + self.log_gate
        if penalty is not None:
            given = given + penalty
        gated = torch.cat((logits[..., :ungated], given), dim=-1)
        mixed = gated.softmax(dim=-1) @ value
        queries = queries + self.out(mixed.transpose(1, 2).flatten(2))
        queries = queries + self.down(F.gelu(self.up(self.norm_mlp(queries)), approximate="tanh"))
        return queries


class BridgeFusion(nn.Module):
    """As many bridge layers as backbone layers, on learned queries.

    Args:
        width: Token width W.
        heads: Attention heads.
        layers: Backbone layers.
        queries: Latent tokens Z.
        proprio_size: Size of the normalised proprioception.
        proprio_tokens: Tokens that proprioception becomes.
    """

    def __init__(
        self, width: int, heads: int, layers: int, queries: int, proprio_size: int, proprio_tokens: int = 2
    ) -> None:
        super().__init__()
        self.queries = nn.Parameter(0.02 * torch.randn(queries, width))
        self.proprio = nn.Linear(proprio_size, proprio_tokens * width)
        self.proprio_tokens = proprio_tokens
        self.layers = nn.ModuleList(BridgeAttention(width, heads) for _ in range(layers))

    def forward(
        self,
        action: Sequence[Tensor],
        conditioning: Sequence[Tensor],
        proprio: Tensor,
        padding: Tensor | None = None,
    ) -> Tensor:
        """Return the fused tokens, shape (B, Z, W).

        Args:
            action: Per layer, shape (B, A, W).
            conditioning: Per layer, shape (B, C, W).
            proprio: Normalised proprioception, shape (B, P).
            padding: True where a conditioning token stands for nothing, shape (B, C).
        """
        tokens = self.proprio(proprio.to(self.queries.dtype)).unflatten(1, (self.proprio_tokens, -1))
        x = self.queries.expand(proprio.shape[0], -1, -1)
        penalty = None
        if padding is not None:
            penalty = torch.where(padding[:, None, None, :], -65504.0, 0.0).to(x.dtype)
        for layer, layer_action, layer_conditioning in zip(self.layers, action, conditioning, strict=True):
            x = layer(
                x, torch.cat((layer_action.to(tokens.dtype), tokens), dim=1), layer_conditioning, penalty
            )
        return x
