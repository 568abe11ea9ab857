"""What every backbone returns to fusion and latent."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class HiddenStates(NamedTuple):
    """What a backbone makes of pictures and instruction, C conditioning and A action tokens of width W.

    Attributes:
        conditioning: Per layer, vision and language tokens, shape (B, C, W).
        action: Per layer, action-query tokens, shape (B, A, W).
        keypoints: Coordinates in [-1, 1] (x right, y down), spread and features, shape (B, K, 3 + F),
            float32; None where the backbone finds none.
        pooled: Vision and language of the last layer in one vector, shape (B, W), float32.
        padding: True where a conditioning token stands for nothing, shape (B, C); None where each counts.
    """

    conditioning: tuple[Tensor, ...]
    action: tuple[Tensor, ...]
    keypoints: Tensor | None
    pooled: Tensor
    padding: Tensor | None = None
