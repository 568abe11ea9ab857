"""Checkpoints of tiny towers on disk, written by transformers as the published ones are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    Dinov2Config,
    Dinov2Model,
    Qwen2Config,
    Qwen2ForCausalLM,
    SiglipConfig,
    SiglipModel,
)
from vision_language_fixtures import TINY, tiny_tokenizer

from training.backbone_weights import BackboneConfig

WEIGHTS = "model.safetensors"


def write_checkpoints(folder: Path) -> BackboneConfig:
    """Write the three whole models (SigLIP with its text tower) and return where they lie."""
    torch.manual_seed(11)
    text = {
        "hidden_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "vocab_size": 50,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    models = {
        "dinov2": Dinov2Model(Dinov2Config(**TINY.dinov2)),
        "siglip": SiglipModel(SiglipConfig(vision_config=dict(TINY.siglip), text_config=text)),
        "qwen": Qwen2ForCausalLM(Qwen2Config(**TINY.qwen)),
    }
    for name, model in models.items():
        model.save_pretrained(folder / name)
    (folder / "qwen" / "tokenizer.json").write_bytes(tiny_tokenizer())
    return BackboneConfig(**{name: str(folder / name) for name in models})


def edit_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the tensors of one checkpoint."""
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
