"""The pretrained backbone's own classes in tiny: random weights, pictures of 28 px, a vocabulary of bytes."""

from __future__ import annotations

from functools import cache

import torch
from stage_one_fixtures import dual_arm_space
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor

from dygro_ros.instruction_codec import TokenCodec
from dygro_ros.layout import ACTION_SIZE
from models.base_policy import BasePolicy, VisionLanguageConfig

TEXTS = ("lift the red cup", "lift the blue cup")
MERGES = (("t", "h"), ("th", "e"), ("l", "i"), ("li", "ft"), ("f", "t"), ("c", "u"), ("cu", "p"), ("r", "e"))
END_OF_TEXT = "<|endoftext|>"
PADDING = 256 + len(MERGES)
VOCABULARY, TOKENS = PADDING + 1, 16
TINY = VisionLanguageConfig(
    dinov2={
        "model_type": "dinov2",
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "mlp_ratio": 2,
        "image_size": 42,
        "patch_size": 14,
    },
    siglip={
        "model_type": "siglip_vision_model",
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "image_size": 28,
        "patch_size": 14,
    },
    qwen={
        "model_type": "qwen2",
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
        "tie_word_embeddings": True,
    },
    image_size=28,
    cameras=2,
    instruction_tokens=TOKENS,
    padding_token=PADDING,
    action_queries=5,
    heads=2,
    z_tokens=3,
    z_dim=8,
    chunk=4,
    head_width=32,
    head_blocks=1,
)


def tiny_policy(seed: int = 0, **changes: object) -> BasePolicy:
    torch.manual_seed(seed)
    config = VisionLanguageConfig(**{**TINY.__dict__, **changes})  # type: ignore[arg-type]
    policy = BasePolicy(config, dual_arm_space()).eval()
    # Fresh transformers start from a deviation of 0.02, so small that pictures hardly differ at this width.
    with torch.no_grad():
        for parameter in policy.backbone.parameters():
            if parameter.dim() >= 2 and parameter is not policy.backbone.action_queries:
                parameter.mul_(5.0)
    return policy


@cache
def tiny_tokenizer() -> bytes:
    """A byte-level tokenizer.json like Qwen's, with eight merges."""
    letters = sorted(ByteLevel.alphabet())
    names = [*letters, *("".join(pair) for pair in MERGES)]
    made = Tokenizer(BPE({name: index for index, name in enumerate(names)}, list(MERGES)))
    made.pre_tokenizer = ByteLevel(add_prefix_space=False)
    made.decoder = ByteLevelDecoder()
    made.add_special_tokens([END_OF_TEXT])
    assert made.token_to_id(END_OF_TEXT) == PADDING
    return made.to_str().encode()


def tiny_codec() -> TokenCodec:
    return TokenCodec(tiny_tokenizer(), TOKENS, PADDING)


def tokens(*ids: int, length: int = TOKENS) -> Tensor:
    """One instruction of these tokens, padded, shape (1, length)."""
    return torch.tensor([[*ids, *[PADDING] * (length - len(ids))]], dtype=torch.int32)


def observation(batch: int = 1, seed: int = 0, cameras: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, cameras, 28, 28, 3)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    text = tokens(3, 14, 15).expand(batch, -1)
    return images, text, 0.3 * torch.randn(batch, ACTION_SIZE, generator=generator)
