"""Colour augmentation of camera images. No geometric one: it would move the millimetres that count."""

from __future__ import annotations

import torch
from torch import Tensor


def jitter_colours(
    images: Tensor, brightness: float, contrast: float, channel_gain: float, rows: slice = slice(None)
) -> Tensor:
    """Return images as float in [0, 1] with a random affine change of each colour channel.

    Args:
        images: Shape (B, V, H, W, 3), uint8.
        brightness: Largest shift, of the full range; drawn for each image apart, as are the others.
        contrast: Largest relative change of contrast.
        channel_gain: Largest relative change of a colour channel.
        rows: Which of the images to return; numbers are drawn for all of them, so that processes which share
            a batch change each image as one process would.
    """
    shape = (*images.shape[:2], 1, 1, 1)

    def uniform(half_range: float, last: int = 1) -> Tensor:
        drawn = (torch.rand((*shape[:4], last)) * 2.0 - 1.0) * half_range
        return drawn[rows].to(images.device)

    stretch = 1.0 + uniform(contrast)
    gain = stretch * (1.0 + uniform(channel_gain, 3))
    shift = 0.5 * (1.0 - stretch) + uniform(brightness)
    return images[rows].float().mul_(gain / 255.0).add_(shift).clamp_(0.0, 1.0)
