"""What lies beside a policy's weights: which backbone it has, and the tokenizer of its instructions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from dygro_ros.errors import CheckpointError
from dygro_ros.instruction_codec import BYTES, TOKENIZER_FILE, InstructionCodec, TokenCodec
from models.base_policy import NanoConfig, PolicyConfig, VisionLanguageConfig
from training.typed_json import dataclass_of

KIND, VISION_LANGUAGE = "backbone", "vision_language"
# What torch and transformers end in, without checks of their own, where sizes are no network's.
NO_NETWORK = (ArithmeticError, AttributeError, LookupError, TypeError)


def config_values(config: PolicyConfig) -> dict[str, Any]:
    """Return a configuration as JSON values; `config_of` reads them."""
    if isinstance(config, NanoConfig):
        return asdict(config)
    known = [field.name for field in fields(VisionLanguageConfig)]
    return {KIND: VISION_LANGUAGE, **{name: asdict(config)[name] for name in known}}


def config_of(values: Mapping[str, Any]) -> PolicyConfig:
    """Return the configuration that `config_values` wrote.

    Raises:
        ValueError: A key is missing or unknown, a value cannot be, or the backbone is unknown.
        ArithmeticError, AttributeError, LookupError, TypeError: Values of a tower are no network's.
    """
    kind = values.get(KIND)
    if kind is None:
        return dataclass_of(NanoConfig, values)
    if kind != VISION_LANGUAGE:
        raise ValueError(f"{KIND} must be {VISION_LANGUAGE!r}, got {kind!r}")
    return dataclass_of(VisionLanguageConfig, {name: values[name] for name in values if name != KIND})


def codec_in(folder: Path, config: PolicyConfig) -> InstructionCodec:
    """Return how the policy in a folder reads instructions.

    Raises:
        CheckpointError: Its tokenizer is missing.
    """
    if isinstance(config, NanoConfig):
        return BYTES
    place = folder / TOKENIZER_FILE
    if not place.is_file():
        raise CheckpointError(f"no Stage I policy in {folder}: expected the file {TOKENIZER_FILE}")
    return TokenCodec(place.read_bytes(), config.instruction_tokens, config.padding_token, str(place))
