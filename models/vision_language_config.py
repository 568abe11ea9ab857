"""Sizes of the Stage I policy with the pretrained backbone (preset `base`).

The towers' own sizes are what their checkpoints' `config.json` say, kept as plain values: they travel with
the policy's weights, and nothing is guessed. Knows neither torch nor transformers, so that reading a
configuration stays quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Values = Mapping[str, Any]

# What the checkpoints facebook/dinov2-large, google/siglip-so400m-patch14-224 and Qwen/Qwen2.5-0.5B say of
# themselves, as far as it differs from the defaults of their classes or is read here.
PUBLISHED_DINOV2: Values = {
    "model_type": "dinov2",
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "mlp_ratio": 4,
    "image_size": 518,
    "patch_size": 14,
    "layer_norm_eps": 1e-6,
}
PUBLISHED_SIGLIP: Values = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "intermediate_size": 4304,
    "image_size": 224,
    "patch_size": 14,
}
PUBLISHED_QWEN: Values = {
    "model_type": "qwen2",
    "vocab_size": 151_936,
    "hidden_size": 896,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "intermediate_size": 4864,
    "max_position_embeddings": 32_768,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
    "tie_word_embeddings": True,
}
QWEN_END_OF_TEXT = 151_643


@dataclass(frozen=True)
class VisionLanguageConfig:
    """Sizes of the Stage I policy with DINOv2, SigLIP and Qwen2.5.

    Attributes:
        dinov2: Values of the DINOv2 tower's configuration.
        siglip: Values of the SigLIP vision tower's configuration.
        qwen: Values of the language model's configuration.
        image_size: Side of the square camera images [px], a multiple of both towers' patches.
        cameras: Number of cameras V.
        instruction_tokens: Length of the padded instruction [tokens].
        padding_token: Token that stands for nothing.
        actions: Values of an action.
        proprio: Values of proprioception.
        action_queries: Learned query tokens behind the instruction (VLA-Adapter: 64).
        heads: Attention heads of the fusion; the language model's width is a multiple.
        z_tokens: Latent tokens Z.
        z_dim: Size D of a latent token.
        chunk: Actions h in a chunk.
        head: Base head, mean-absolute regression or flow matching.
        head_width: Width of the head's residual blocks.
        head_blocks: Number of the head's residual blocks.
        flow_steps: Euler steps of the flow head at deployment.
        gradient_checkpointing: Keep only each layer's input while training and compute the layer again in the
            backward pass: less memory, a third more time.
    """

    dinov2: Values = field(default_factory=lambda: PUBLISHED_DINOV2)
    siglip: Values = field(default_factory=lambda: PUBLISHED_SIGLIP)
    qwen: Values = field(default_factory=lambda: PUBLISHED_QWEN)
    image_size: int = 224
    cameras: int = 1
    instruction_tokens: int = 48
    padding_token: int = QWEN_END_OF_TEXT
    actions: int = 14
    proprio: int = 14
    action_queries: int = 64
    heads: int = 8
    z_tokens: int = 16
    z_dim: int = 64
    chunk: int = 10
    head: Literal["l1", "flow"] = "l1"
    head_width: int = 1024
    head_blocks: int = 3
    flow_steps: int = 5
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        """Check what construction of the networks could not name.

        Raises:
            ValueError: A size does not divide, a tower is of another kind, or a choice is unknown.
        """
        kinds = {"dinov2": ("dinov2",), "siglip": ("siglip_vision_model",), "qwen": ("qwen2",)}
        for name, known in kinds.items():
            kind = getattr(self, name).get("model_type")
            if kind not in known:
                raise ValueError(f"{name} must be a configuration of {' or '.join(known)}, got {kind!r}")
        for name in ("dinov2", "siglip"):
            patch = int(getattr(self, name)["patch_size"])
            if patch < 1 or self.image_size % patch or self.image_size <= 0:
                raise ValueError(
                    f"image_size must be a positive multiple of {name}'s patches of {patch} px, "
                    f"got {self.image_size}"
                )
        if self.dinov2["patch_size"] != self.siglip["patch_size"]:
            raise ValueError(
                "dinov2 and siglip must cut pictures into the same patches, got "
                f"{self.dinov2['patch_size']} and {self.siglip['patch_size']} px"
            )
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"qwen's width must be a multiple of heads, got {self.width} and {self.heads}")
        if not 0 <= self.padding_token < self.qwen["vocab_size"]:
            raise ValueError(
                f"padding_token must be below qwen's vocab_size {self.qwen['vocab_size']}, "
                f"got {self.padding_token}"
            )
        if self.instruction_tokens < 1 or self.action_queries < 1:
            raise ValueError(
                "instruction_tokens and action_queries must be at least 1, "
                f"got {self.instruction_tokens} and {self.action_queries}"
            )
        if self.head not in ("l1", "flow"):
            raise ValueError(f"head must be 'l1' or 'flow', got {self.head!r}")

    @property
    def width(self) -> int:
        """Token width of language model and fusion."""
        return int(self.qwen["hidden_size"])

    @property
    def layers(self) -> int:
        """Layers of the language model, and as many fusion layers."""
        return int(self.qwen["num_hidden_layers"])

    @property
    def vision_tokens(self) -> int:
        """Vision tokens of all cameras, one a patch."""
        return self.cameras * (self.image_size // int(self.dinov2["patch_size"])) ** 2

    @property
    def instruction_length(self) -> int:
        """Values of the encoded instruction."""
        return self.instruction_tokens
