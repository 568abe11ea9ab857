"""The `nano` backbone: images and instruction bytes to hidden states, trained from scratch on a CPU.

Built for spatial precision at about 90 MFLOP a 128 px frame: everything downstream can only act on what
these tokens can see. A stride-4 convolution stem, modulated by the instruction (FiLM, arXiv 1709.07871),
feeds K learned spatial-softmax keypoints (arXiv 1504.00702); each becomes one vision token of coordinates,
spread and the features found there. A pre-LN transformer mixes [vision | language | action queries]; every
layer's states are returned, split into conditioning and action tokens, as the fusion needs them. Knows
nothing of actions or robots.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.hidden_states import HiddenStates

LANGUAGE_WINDOW = 8
# Two coordinates and the spread around them.
KEYPOINT_GEOMETRY = 3
STRIDE = 4


@dataclass(frozen=True)
class NanoConfig:
    """Sizes of the Stage I policy with the `nano` backbone.

    Attributes:
        image_size: Side of the square camera images [px], a multiple of 4.
        cameras: Number of cameras V.
        instruction_bytes: Length of the padded instruction, a multiple of 8.
        actions: Values of an action.
        proprio: Values of proprioception.
        width: Token width of transformer and fusion.
        layers: Transformer layers, and as many fusion layers.
        heads: Attention heads.
        stem_channels: Channels of the stem's convolutions at 1/2, 1/4 and 1/4 resolution.
        keypoints: Keypoints, and so vision tokens, a camera.
        keypoint_features: Features read at a keypoint that reach the latent directly.
        z_tokens: Latent tokens Z.
        z_dim: Size D of a latent token.
        chunk: Actions h in a chunk.
        head: Base head, mean-absolute regression or flow matching.
        head_width: Width of the head's residual blocks.
        head_blocks: Number of the head's residual blocks.
        flow_steps: Euler steps of the flow head at deployment.
    """

    image_size: int = 128
    cameras: int = 1
    instruction_bytes: int = 96
    actions: int = 14
    proprio: int = 14
    width: int = 128
    layers: int = 2
    heads: int = 4
    stem_channels: tuple[int, int, int] = (16, 32, 48)
    keypoints: int = 24
    keypoint_features: int = 16
    z_tokens: int = 8
    z_dim: int = 32
    chunk: int = 10
    head: Literal["l1", "flow"] = "l1"
    head_width: int = 512
    head_blocks: int = 3
    flow_steps: int = 5

    def __post_init__(self) -> None:
        """Check what construction of the networks could not name.

        Raises:
            ValueError: A size does not divide or a choice is unknown.
        """
        if self.image_size % STRIDE or self.image_size <= 0:
            raise ValueError(f"image_size must be a positive multiple of {STRIDE}, got {self.image_size}")
        if self.instruction_bytes % LANGUAGE_WINDOW or self.instruction_bytes <= 0:
            raise ValueError(
                f"instruction_bytes must be a positive multiple of {LANGUAGE_WINDOW}, "
                f"got {self.instruction_bytes}"
            )
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got {self.width} and {self.heads}")
        if self.head not in ("l1", "flow"):
            raise ValueError(f"head must be 'l1' or 'flow', got {self.head!r}")

    @property
    def instruction_length(self) -> int:
        """Values of the encoded instruction."""
        return self.instruction_bytes

    @property
    def language_tokens(self) -> int:
        """Language tokens, one for each window of eight bytes."""
        return self.instruction_bytes // LANGUAGE_WINDOW


class InstructionEncoder(nn.Module):
    """UTF-8 bytes to 12 tokens and one pooled vector: byte n-grams, maximum over windows.

    The maximum forgets where in its window an n-gram stood, so that a word keeps its meaning when a template
    shifts it by a few bytes.
    """

    def __init__(self, width: int, embedding: int = 32, filters: int = 64, ngram: int = 7) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, embedding)
        self.ngrams = nn.Conv1d(embedding, filters, ngram, padding=ngram // 2)
        self.project = nn.Linear(filters, width)

    def forward(self, instruction: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens (B, 12, W) and the pooled n-grams (B, filters) for bytes (B, 96) uint8."""
        grams = F.relu(self.ngrams(self.embedding(instruction.long()).transpose(1, 2)))
        windows = grams.unflatten(2, (-1, LANGUAGE_WINDOW)).amax(dim=3)
        return self.project(windows.transpose(1, 2)), windows.amax(dim=2)


class KeypointVision(nn.Module):
    """Convolution stem and spatial-softmax keypoints, both modulated by the instruction."""

    grid: Tensor

    def __init__(self, config: NanoConfig, pooled: int) -> None:
        super().__init__()
        first, second, third = config.stem_channels
        self.conv1 = nn.Conv2d(3, first, 5, 2, 2)
        self.conv2 = nn.Conv2d(first, second, 3, 2, 1)
        self.conv3 = nn.Conv2d(second, third, 3, 1, 1)
        self.conv4 = nn.Conv2d(third, third, 3, 1, 1)
        # One pass for the keypoints' logits and for the features read at them.
        self.readout = nn.Conv2d(third, config.keypoints + config.keypoint_features, 1)
        self.split = (config.keypoints, config.keypoint_features)
        self.film = nn.Linear(pooled, 2 * third)
        nn.init.normal_(self.film.weight, std=0.02)
        nn.init.zeros_(self.film.bias)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        side = config.image_size // STRIDE
        # Centres of the cells in [-1, 1], and their squared radius, from which the spread follows.
        axis = (torch.arange(side) + 0.5) * (2.0 / side) - 1.0
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        grid = torch.stack((x, y, x.square() + y.square()), dim=-1).reshape(1, side * side, KEYPOINT_GEOMETRY)
        self.register_buffer("grid", grid, persistent=False)

    def maps(self, pixels: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return keypoint logits (N, K, P) and features (N, C, P) over P cells for pixels (N, 3, H, W)."""
        scale, shift = self.film(pooled)[:, :, None, None].chunk(2, dim=1)
        x = F.relu(self.conv1(pixels), inplace=True)
        x = F.relu(self.conv2(x), inplace=True)
        x = F.relu(torch.addcmul(shift, self.conv3(x), 1 + scale), inplace=True)
        x = F.relu(self.conv4(x) + x, inplace=True)
        logits, features = self.readout(x).flatten(2).split(self.split, dim=1)
        return logits, features

    def keypoints(self, logits: Tensor, features: Tensor) -> Tensor:
        """Return (N, K, 3 + C) in float32: bfloat16 would round a coordinate by up to 2 mm on the table."""
        attention = logits.float().softmax(dim=2)
        geometry = attention @ self.grid.expand(attention.shape[0], -1, -1)
        found = attention @ features.float().transpose(1, 2)
        centre = geometry[:, :, :2]
        variance = geometry[:, :, 2:] - centre.square().sum(dim=2, keepdim=True)
        # The square root's slope is infinite at zero; a cell's own size is the natural floor.
        spread = (variance.clamp(min=0.0) + 1e-4).sqrt()
        return torch.cat((centre, spread, found), dim=2)


class TransformerBlock(nn.Module):
    """Pre-LN self-attention and MLP on (B, N, W)."""

    def __init__(self, width: int, heads: int, expansion: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, expansion * width)
        self.down = nn.Linear(expansion * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, shape (B, N, W)."""
        query, key, value = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # Written out: for these few tokens torch's fused CPU kernel is 5 times slower in the backward pass.
        logits = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)
        mixed = logits.softmax(dim=-1).to(value.dtype) @ value
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        x = x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))
        return x


class NanoBackbone(nn.Module):
    """Images and instruction to hidden states.

    Args:
        config: Sizes.

    Attributes:
        mixed_precision: Run stem and transformer in bfloat16 while training (about twice as fast on CPUs with
            bfloat16 instructions); coordinates stay float32.
    """

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.config = config
        self.mixed_precision = False
        self.language = InstructionEncoder(config.width)
        self.vision = KeypointVision(config, pooled=self.language.ngrams.out_channels)
        self.vision_token = nn.Linear(KEYPOINT_GEOMETRY + config.keypoint_features, config.width)
        self.blocks = nn.ModuleList(
            TransformerBlock(config.width, config.heads) for _ in range(config.layers)
        )
        vision_tokens = config.cameras * config.keypoints
        self.conditioning_tokens = vision_tokens + config.language_tokens
        # Not zero, as VLA-Adapter has it: without rotary positions equal queries would stay equal for ever.
        self.action_queries = nn.Parameter(0.02 * torch.randn(config.z_tokens, config.width))
        self.positions = nn.Parameter(0.02 * torch.randn(self.conditioning_tokens, config.width))

    @property
    def direct_size(self) -> int:
        """Values of `keypoints` that reach the latent directly."""
        config = self.config
        return config.cameras * config.keypoints * (KEYPOINT_GEOMETRY + config.keypoint_features)

    def pretrained_parts(self) -> tuple[nn.Module, ...]:
        """Return what does not start from scratch: nothing here."""
        return ()

    def precision(self, device: str) -> AbstractContextManager[object]:
        """Return the context that attention and convolutions run in: bfloat16 only where it was asked for."""
        if self.mixed_precision and self.training:
            return torch.autocast(device, dtype=torch.bfloat16)
        return nullcontext()

    def forward(self, images: Tensor, instruction: Tensor) -> HiddenStates:
        """Encode one batch.

        Args:
            images: RGB uint8, shape (B, V, H, W, 3); or float in [0, 1] of the same shape (augmented
                batches).
            instruction: UTF-8 bytes, zero padded, uint8, shape (B, 96).
        """
        cameras = self.config.cameras
        # TensorRT takes bytes in a cast and nowhere else.
        pixels = images.float() * (2.0 / 255.0) - 1.0 if images.dtype == torch.uint8 else images * 2.0 - 1.0
        pixels = pixels.flatten(0, 1).permute(0, 3, 1, 2)  # channels-last in memory without a copy
        tokens, pooled = self.language(instruction)
        if cameras > 1:
            pooled = pooled.repeat_interleave(cameras, dim=0)
        with self.precision(images.device.type):
            logits, features = self.vision.maps(pixels, pooled)
        keypoints = self.vision.keypoints(logits, features)
        if cameras > 1:
            keypoints = keypoints.unflatten(0, (-1, cameras)).flatten(1, 2)
        conditioning = torch.cat((self.vision_token(keypoints), tokens), dim=1) + self.positions
        queries = self.action_queries.expand(conditioning.shape[0], -1, -1)
        x = torch.cat((conditioning, queries), dim=1)
        states: list[Tensor] = []
        with self.precision(images.device.type):
            for block in self.blocks:
                x = block(x)
                states.append(x)
        split = (self.conditioning_tokens, self.config.z_tokens)
        halves = [state.split(split, dim=1) for state in states]
        pooled = halves[-1][0].float().mean(dim=1)
        return HiddenStates(tuple(h[0] for h in halves), tuple(h[1] for h in halves), keypoints, pooled)
