"""The pretrained backbone: DINOv2 and SigLIP see, a projector translates, Qwen2.5 reads (preset `base`).

As in Prismatic (arXiv 2402.07865) and VLA-Adapter (arXiv 2509.09372): both towers' features of a patch, from
the layer before the last, are joined and projected to the language model's width. The model then reads
[vision | instruction | action queries] causally, so the queries see everything and the instruction has seen
the pictures. Every layer's states are returned, split into conditioning and action tokens. `lm_head` has no
use here and does not exist; the towers' last layers are not built. Knows nothing of actions, robots or files.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import Dinov2Config, Dinov2Model, Qwen2Config, Qwen2Model, SiglipVisionConfig
from transformers import SiglipVisionModel as SiglipModel

from models.hidden_states import HiddenStates
from models.vision_language_config import VisionLanguageConfig

# DINOv2 was trained on ImageNet's colours, SigLIP on [-1, 1].
DINOV2_MEAN, DINOV2_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
UNREAD_LAYERS = 1
PROJECTOR_EXPANSION = 4


class FusedVision(nn.Module):
    """Both vision towers and the projector: pictures to tokens of the language model.

    Args:
        config: Sizes.
    """

    colour_mean: Tensor
    colour_std: Tensor

    def __init__(self, config: VisionLanguageConfig) -> None:
        super().__init__()
        self.dinov2 = Dinov2Model(
            Dinov2Config(**_tower(config.dinov2, config.image_size, use_mask_token=False))
        )
        self.dinov2.layernorm = nn.Identity()  # type: ignore[assignment]
        self.siglip = SiglipModel(
            SiglipVisionConfig(**_tower(config.siglip, config.image_size, vision_use_head=False))
        )
        self.siglip.post_layernorm = nn.Identity()  # type: ignore[assignment]
        joined = int(config.dinov2["hidden_size"]) + int(config.siglip["hidden_size"])
        self.projector = nn.Sequential(
            nn.Linear(joined, PROJECTOR_EXPANSION * joined),
            nn.GELU(approximate="tanh"),
            nn.Linear(PROJECTOR_EXPANSION * joined, config.width),
            nn.GELU(approximate="tanh"),
            nn.Linear(config.width, config.width),
        )
        self.gradient_checkpointing = config.gradient_checkpointing
        for name, values in (("colour_mean", DINOV2_MEAN), ("colour_std", DINOV2_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return patch tokens (N, P, W) for pixels (N, 3, H, W) in [0, 1]."""
        keeps = self.gradient_checkpointing and self.training
        kind = next(self.projector.parameters()).dtype
        x = self.dinov2.embeddings((pixels - self.colour_mean) / self.colour_std).to(kind)
        for layer in self.dinov2.encoder.layer:
            x = _run(layer, keeps, x)
        y = self.siglip.embeddings(pixels * 2.0 - 1.0).to(kind)
        for layer in self.siglip.encoder.layers:
            y = _run(layer, keeps, y, attention_mask=None)
        # DINOv2's first token is its class token.
        return cast(Tensor, self.projector(torch.cat((x[:, 1:], y), dim=2)))


class VisionLanguageBackbone(nn.Module):
    """Pictures and instruction tokens to hidden states.

    Args:
        config: Sizes.

    Attributes:
        mixed_precision: Compute in bfloat16 while training; weights stay as they are.
    """

    causal: Tensor
    positions: Tensor

    def __init__(self, config: VisionLanguageConfig) -> None:
        super().__init__()
        self.config = config
        self.mixed_precision = False
        self.vision = FusedVision(config)
        self.language = Qwen2Model(Qwen2Config(**{**config.qwen, "use_cache": False}))
        self.action_queries = nn.Parameter(torch.zeros(config.action_queries, config.width))
        length = config.vision_tokens + config.instruction_tokens + config.action_queries
        self.register_buffer("causal", torch.ones(length, length).tril().bool(), persistent=False)
        self.register_buffer("positions", torch.arange(length).unsqueeze(0), persistent=False)

    @property
    def direct_size(self) -> int:
        """Values of `keypoints` that reach the latent directly: this backbone has none."""
        return 0

    def pretrained_parts(self) -> tuple[nn.Module, ...]:
        """Return what does not start from scratch: both vision towers and the language model."""
        return self.vision.dinov2, self.vision.siglip, self.language

    def precision(self, device: str) -> AbstractContextManager[object]:
        """Return the context that the networks run in: bfloat16 only where it was asked for."""
        if self.mixed_precision and self.training:
            return torch.autocast(device, dtype=torch.bfloat16)
        return nullcontext()

    def forward(self, images: Tensor, instruction: Tensor) -> HiddenStates:
        """Encode one batch.

        Args:
            images: RGB uint8, shape (B, V, H, W, 3); or float in [0, 1] of the same shape (augmented
                batches).
            instruction: Token ids, padded by `padding_token`, int32, shape (B, T).
        """
        pixels = images.float() * (1.0 / 255.0) if images.dtype == torch.uint8 else images
        pixels = pixels.flatten(0, 1).permute(0, 3, 1, 2)
        with self.precision(images.device.type):
            vision = self.vision(pixels).unflatten(0, (-1, self.config.cameras)).flatten(1, 2)
            return self._read(vision, instruction)

    def _read(self, vision: Tensor, instruction: Tensor) -> HiddenStates:
        config = self.config
        words = self.language.embed_tokens(instruction).to(vision.dtype)
        queries = self.action_queries.to(vision.dtype).expand(len(words), -1, -1)
        x = torch.cat((vision, words, queries), dim=1)
        given = instruction != config.padding_token
        seen = torch.cat(
            (
                torch.ones_like(given[:, :1]).expand(-1, config.vision_tokens),
                given,
                torch.ones_like(given[:, :1]).expand(-1, config.action_queries),
            ),
            dim=1,
        )
        # Added to the logits. The smallest float16 is far below any logit; -inf would make rows of NaN.
        mask = torch.where(self.causal & seen[:, None, None, :], 0.0, -65504.0).to(x.dtype)
        rotary = self.language.rotary_emb(x, self.positions)
        keeps = self.config.gradient_checkpointing and self.training
        states: list[Tensor] = []
        for layer in self.language.layers:
            x = _run(layer, keeps, x, attention_mask=mask, position_embeddings=rotary)
            states.append(x)
        states[-1] = self.language.norm(x)
        read = config.vision_tokens + config.instruction_tokens
        conditioning = tuple(state[:, :read] for state in states)
        padding = ~seen[:, :read]
        return HiddenStates(
            conditioning,
            tuple(state[:, read:] for state in states),
            None,
            _pooled(conditioning[-1].float(), given, config.vision_tokens),
            padding,
        )


def _pooled(last: Tensor, given: Tensor, vision_tokens: int) -> Tensor:
    """Return the mean of the vision's and the instruction's mean, shape (B, W).

    One mean over all tokens would hold fifty parts of picture to one of instruction.
    """
    weights = given.unsqueeze(-1).to(last.dtype)
    words = (last[:, vision_tokens:] * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
    return 0.5 * (last[:, :vision_tokens].mean(dim=1) + words)


def _tower(values: Mapping[str, Any], image_size: int, **without: bool) -> dict[str, Any]:
    """Return a vision tower's configuration without what is not read."""
    layers = int(values["num_hidden_layers"]) - UNREAD_LAYERS
    return {**values, "num_hidden_layers": layers, "image_size": image_size, **without}


def _run(layer: nn.Module, checkpointing: bool, x: Tensor, **arguments: Any) -> Tensor:
    if checkpointing:
        return cast(Tensor, checkpoint(layer, x, use_reentrant=False, **arguments))
    return cast(Tensor, layer(x, **arguments))


def resized_positions(positions: Tensor, side: int) -> Tensor:
    """Return DINOv2's position embeddings for another grid of patches, shape (1, 1 + side * side, W).

    Done once when weights are loaded, as the tower itself would at each picture (bicubic).

    Args:
        positions: For the class token and a square grid, shape (1, 1 + n * n, W).
        side: Patches along a side of the new grid.
    """
    first, grid = positions[:, :1], positions[:, 1:]
    old = round(grid.shape[1] ** 0.5)
    if old == side:
        return positions
    square = grid.float().unflatten(1, (old, old)).permute(0, 3, 1, 2)
    square = F.interpolate(square, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat((first, square.permute(0, 2, 3, 1).flatten(1, 2).to(positions.dtype)), dim=1)
