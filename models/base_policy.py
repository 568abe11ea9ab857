"""The Stage I policy: backbone, fusion, latent and base head, from uint8 images to a normalised chunk.

Everything here is frozen in Stage II, which sees only z, the base chunk and the task features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from models.action_space import ActionSpace
from models.fusion import BridgeFusion
from models.heads import FlowHead, L1Head
from models.latent import LatentEncoder, sample_latent
from models.nano import NanoBackbone, NanoConfig
from models.vision_language_config import VisionLanguageConfig

if TYPE_CHECKING:
    from models.vision_language import VisionLanguageBackbone

__all__ = ["BasePolicy", "NanoConfig", "PolicyConfig", "StageOne", "VisionLanguageConfig"]

PolicyConfig = NanoConfig | VisionLanguageConfig


class StageOne(NamedTuple):
    """What Stage I knows about an observation.

    Attributes:
        z_mean: Mean of the latent tokens, shape (B, Z, D); z itself at deployment.
        z_logvar: Their log-variance, shape (B, Z, D).
        task_features: Pooled last-layer conditioning states (vision and language), shape (B, F).
    """

    z_mean: Tensor
    z_logvar: Tensor
    task_features: Tensor


def build_backbone(config: PolicyConfig) -> NanoBackbone | VisionLanguageBackbone:
    """Return a fresh backbone of these sizes."""
    if isinstance(config, NanoConfig):
        return NanoBackbone(config)
    # transformers takes seconds to import, which nobody pays who trains from scratch.
    from models.vision_language import VisionLanguageBackbone

    return VisionLanguageBackbone(config)


class BasePolicy(nn.Module):
    """Observation to z, and z to a normalised chunk.

    Args:
        config: Sizes and the choice of head.
        action_space: Normalisation; becomes part of this module and of its weights.
    """

    def __init__(self, config: PolicyConfig, action_space: ActionSpace) -> None:
        super().__init__()
        self.config = config
        self.action_space = action_space
        self.backbone = build_backbone(config)
        self.fusion = BridgeFusion(config.width, config.heads, config.layers, config.z_tokens, config.proprio)
        direct_size = self.backbone.direct_size + config.proprio
        self.latent = LatentEncoder(config.width, config.z_tokens, config.z_dim, direct_size)
        self.norm_task = nn.LayerNorm(config.width, elementwise_affine=False)
        latent_size = config.z_tokens * config.z_dim
        self.head: L1Head | FlowHead
        if config.head == "l1":
            self.head = L1Head(
                latent_size, config.chunk, config.actions, config.head_width, config.head_blocks
            )
        else:
            self.head = FlowHead(
                latent_size,
                config.chunk,
                config.actions,
                config.head_width,
                config.head_blocks,
                config.flow_steps,
            )

    @property
    def task_feature_size(self) -> int:
        """Size F of the task features."""
        return self.config.width

    def encode(self, images: Tensor, instruction: Tensor, proprio: Tensor) -> StageOne:
        """Encode observations.

        Args:
            images: RGB, uint8, shape (B, V, H, W, 3).
            instruction: As the backbone reads it, shape (B, L): zero-padded UTF-8 bytes, uint8 (`nano`), or
                padded token ids, int32 (`base`).
            proprio: Proprioception in the robot's units, shape (B, P).
        """
        hidden = self.backbone(images, instruction)
        state = self.action_space.normalise_proprio(proprio)
        with self.backbone.precision(images.device.type):
            fused = self.fusion(hidden.action, hidden.conditioning, state, hidden.padding)
        direct = state if hidden.keypoints is None else torch.cat((hidden.keypoints.flatten(1), state), dim=1)
        z_mean, z_logvar = self.latent(fused.float(), direct)
        task_features = self.norm_task(hidden.pooled)
        return StageOne(z_mean, z_logvar, task_features)

    def sample(self, stage: StageOne, generator: torch.Generator | None = None) -> Tensor:
        """Return z ~ p(z | o), shape (B, Z, D), reparameterised."""
        return sample_latent(stage.z_mean, stage.z_logvar, generator)

    def base_chunk(self, z: Tensor) -> Tensor:
        """Return the normalised chunk, shape (B, h, A), for z of shape (B, Z, D); deterministic."""
        chunk: Tensor = self.head(z)
        return chunk

    def bc_loss(self, z: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Return the behaviour-cloning loss, a scalar.

        Args:
            z: Latent sample, shape (B, Z, D).
            target: Normalised chunk of the demonstration, shape (B, h, A).
            mask: 1 where the step lies inside the episode, shape (B, h).
        """
        return self.head.loss(z, target, mask)

    def forward(self, images: Tensor, instruction: Tensor, proprio: Tensor) -> Tensor:
        """Return the base chunk in the robot's units, shape (B, h, A), from the mean of z."""
        stage = self.encode(images, instruction, proprio)
        return self.action_space.to_joints(self.base_chunk(stage.z_mean), proprio)
