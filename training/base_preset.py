"""The preset `base`: the paper's own scale, a pretrained backbone that learns on GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Annotated, Any

import tyro

from dygro_ros.errors import DependencyError, UserError
from dygro_ros.instruction_codec import BYTES, TOKENIZER_FILE, InstructionCodec, TokenCodec
from models.base_policy import NanoConfig, PolicyConfig, VisionLanguageConfig
from models.vision_language_config import (
    PUBLISHED_DINOV2,
    PUBLISHED_QWEN,
    PUBLISHED_SIGLIP,
    QWEN_END_OF_TEXT,
)
from sim2real.export import Precision
from training.backbone_weights import PUBLISHED, BackboneConfig, find_folders, sized
from training.methods.sft import SftConfig
from training.option_checks import check_range
from training.pretrainer import PretrainConfig
from training.processes import DeviceName

# What the weights' own files say is no option.
_Read = Annotated[Mapping[str, Any], tyro.conf.Fixed, tyro.conf.Suppress]


@dataclass(frozen=True)
class PretrainedNetwork(VisionLanguageConfig):
    """Sizes of the Stage I policy around the towers that --backbone names."""

    dinov2: _Read = field(default_factory=lambda: PUBLISHED_DINOV2)
    siglip: _Read = field(default_factory=lambda: PUBLISHED_SIGLIP)
    qwen: _Read = field(default_factory=lambda: PUBLISHED_QWEN)
    padding_token: Annotated[int, tyro.conf.Fixed, tyro.conf.Suppress] = QWEN_END_OF_TEXT


BASE_PRETRAIN = PretrainConfig(
    steps=30_000,
    batch_size=64,
    learning_rate=2e-4,
    pretrained_rate=0.1,
    warmup_steps=1_000,
    average_decay=0.999,
    checkpoint_every=2_000,
)
BASE_SFT = SftConfig(steps=10_000, learning_rate=2e-4, lora_rank=64)


def resolve_network(network: PolicyConfig, backbone: BackboneConfig) -> PolicyConfig:
    """Return the network with the sizes that the backbone's own files state.

    Raises:
        UserError: Weights are missing or do not fit, or were named for a network that has none.
        DependencyError: The preset's libraries are not installed.
    """
    if isinstance(network, VisionLanguageConfig):
        return sized(network, backbone)
    if backbone != PUBLISHED:
        raise UserError("--backbone options are for --preset base: other networks are trained from scratch")
    return network


def check_precision(network: PolicyConfig, precision: Precision, device: DeviceName) -> None:
    """Refuse what the export would refuse at the end of the run.

    Raises:
        UserError: The network stays in float32, or what is to check the bundle cannot run it.
    """
    if precision == "float32":
        return
    if isinstance(network, NanoConfig):
        raise UserError(
            f"--precision {precision} is for --preset base: the network from scratch stays in float32, which "
            "the coordinates that it reads off its pictures need"
        )
    if precision == "bfloat16" and device == "cpu":
        raise UserError(
            "--precision bfloat16 needs --device cuda, got cpu: the bundle is checked there, and ONNX "
            "Runtime computes no bfloat16 on CPUs"
        )


def check_pretrained_options(network: PolicyConfig, pretrain: PretrainConfig, sft: SftConfig) -> None:
    """Refuse options of pretrained towers for a network that has none.

    Raises:
        UserError: One is set.
    """
    if isinstance(network, VisionLanguageConfig):
        return
    for option, value, unset in (
        ("--pretrain.pretrained-rate", pretrain.pretrained_rate, PretrainConfig.pretrained_rate),
        ("--pretrain.lora-rank", pretrain.lora_rank, PretrainConfig.lora_rank),
        ("--sft.lora-rank", sft.lora_rank, SftConfig.lora_rank),
    ):
        if value != unset:
            raise UserError(
                f"{option} {value} is for --preset base: a network from scratch has no pretrained towers, so "
                f"it must stay at {unset}"
            )


def check_adapters(name: str, stage: PretrainConfig | SftConfig | None) -> None:
    """Refuse adapters (LoRA) that could not be made, hours before they are.

    Args:
        name: What the stage's options begin with.
        stage: Where they are made; None where the run leaves the stage out.

    Raises:
        UserError: The rank is below 0.
        DependencyError: peft, which makes them, is not installed.
    """
    if stage is None:
        return
    option, rank = f"--{name}.lora-rank", stage.lora_rank
    check_range(option, rank, 0)
    if rank and find_spec("peft") is None:
        raise DependencyError(
            f"{option} {rank} needs peft: pip install 'dygro_ros[base]', or train the towers' own weights by "
            f"{option} 0"
        )


def codec_for(network: PolicyConfig, backbone: BackboneConfig) -> InstructionCodec:
    """Return how a fresh policy of these sizes reads instructions.

    Raises:
        UserError: The tokenizer is missing; the message holds the command that fetches it.
    """
    if isinstance(network, NanoConfig):
        return BYTES
    place = find_folders(replace(backbone, random_weights=True))["qwen"] / TOKENIZER_FILE
    return TokenCodec(place.read_bytes(), network.instruction_tokens, network.padding_token, str(place))
