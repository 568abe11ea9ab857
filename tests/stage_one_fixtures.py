"""A small Stage I policy and synthetic demonstrations: a coloured square to reach, named by the words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dygro_ros.layout import ACTION_SIZE, INSTRUCTION_BYTES
from models.action_space import ActionSpace
from models.base_policy import BasePolicy, NanoConfig
from sim2real.cell.privileged import PRIVILEGED_SIZE, PRIVILEGED_SLICES
from sim2real.cell.world import DUAL_ARM

SMALL = NanoConfig(
    image_size=32,
    width=32,
    layers=2,
    heads=2,
    stem_channels=(8, 8, 16),
    keypoints=6,
    keypoint_features=4,
    z_tokens=3,
    z_dim=8,
    chunk=4,
    head_width=32,
    head_blocks=1,
)
TEXTS = ("go to the red square", "go to the blue square")


@dataclass(frozen=True)
class SyntheticEpisode:
    instructions: tuple[str, ...]
    images: NDArray[np.uint8]
    proprio: NDArray[np.float32]
    action: NDArray[np.float32]
    privileged: NDArray[np.float32] | None
    task: str | None = None
    seed: int | None = None
    randomization: str | None = None


def episode(
    seed: int, frames: int = 12, *, size: int = 32, cameras: int = 1, privileged: bool = True
) -> SyntheticEpisode:
    """Red and blue squares at random places; joint 0 and 1 go to the place of the one that is named."""
    rng = np.random.default_rng(seed)
    target = seed % 2
    places = rng.integers(4, size - 4, (2, 2))
    images = np.full((frames, cameras, size, size, 3), 200, dtype=np.uint8)
    for (x, y), colour in zip(places, ((230, 20, 20), (20, 20, 230)), strict=True):
        images[:, :, y - 3 : y + 3, x - 3 : x + 3] = colour
    goal = places[target] / size - 0.5
    action = np.zeros((frames, ACTION_SIZE), dtype=np.float32)
    action[:, :2] = goal
    proprio = (0.1 * rng.standard_normal((frames, ACTION_SIZE))).astype(np.float32)
    state = None
    if privileged:
        state = np.zeros((frames, PRIVILEGED_SIZE), dtype=np.float32)
        state[:, PRIVILEGED_SLICES["object_positions"]] = [
            *goal,
            0.0,
            *(places[1 - target] / size - 0.5),
            0.0,
        ]
    return SyntheticEpisode((TEXTS[target],), images, proprio, action, state)


def episodes(count: int, **options: int) -> list[SyntheticEpisode]:
    return [episode(seed, **options) for seed in range(count)]


def dual_arm_space(scale: float = 1.0) -> ActionSpace:
    return ActionSpace(np.full(ACTION_SIZE, scale), np.zeros(ACTION_SIZE), np.ones(ACTION_SIZE), DUAL_ARM)


def small_policy(seed: int = 0, **changes: object) -> BasePolicy:
    torch.manual_seed(seed)
    config = NanoConfig(**{**SMALL.__dict__, **changes})  # type: ignore[arg-type]
    return BasePolicy(config, dual_arm_space()).eval()


def random_observation(
    policy: BasePolicy, batch: int = 1, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    size, cameras = policy.config.image_size, policy.config.cameras
    images = torch.randint(0, 256, (batch, cameras, size, size, 3), dtype=torch.uint8, generator=generator)
    text = torch.zeros(batch, INSTRUCTION_BYTES, dtype=torch.uint8)
    text[:, :20] = torch.randint(97, 123, (batch, 20), dtype=torch.uint8, generator=generator)
    return images, text, 0.3 * torch.randn(batch, ACTION_SIZE, generator=generator)
