"""A policy whose large parts compute in float16 or bfloat16, for deployment on a GPU.

Only parameters are rounded. Buffers stay: rotary frequencies in bfloat16 would turn by whole radians at the
end of the sequence. So do the patches' convolutions, which ONNX knows in bfloat16 from opset 22 only, and
latent, head and residual: all of these together are a hundredth of the work.
"""

from __future__ import annotations

import copy

import torch

from models.base_policy import BasePolicy

HALF_TYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def in_half_precision(policy: BasePolicy, dtype: torch.dtype) -> BasePolicy:
    """Return a frozen copy with backbone and fusion in half precision.

    Raises:
        ValueError: The type is no half precision, or the backbone was not pretrained: `nano` reads
            coordinates off its pictures, which half precision would blur.
    """
    if dtype not in HALF_TYPES.values():
        raise ValueError(f"dtype must be float16 or bfloat16, got {dtype}")
    if not policy.backbone.pretrained_parts():
        raise ValueError("half precision is for pretrained backbones; nano stays in float32")
    rounded = copy.deepcopy(policy).eval().requires_grad_(False)
    for module in (rounded.backbone, rounded.fusion):
        for name, parameter in module.named_parameters():
            if ".embeddings." not in name:
                parameter.data = parameter.data.to(dtype)
    return rounded
