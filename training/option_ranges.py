"""The range of every number that a run's configuration holds, by the class it stands in.

Worlds, recordings, evaluation and Ray check their own, which depend on more than the number. Knows what
numbers may be, not what they do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from dygro_ros.errors import UserError
from models.base_policy import NanoConfig, VisionLanguageConfig
from models.critics import CriticConfig
from models.residual import ResidualConfig
from training.episodes import RewardConfig
from training.head_refinement import HeadRefinementConfig
from training.methods.dygro import DygroConfig
from training.methods.off_policy import OffPolicyConfig
from training.methods.ppo import PpoConfig
from training.methods.sft import SftConfig
from training.online import OnlineConfig
from training.option_checks import check_range
from training.pretrainer import PretrainConfig
from training.samplers import TaskSamplingConfig


class Range(NamedTuple):
    """What a number may be; the last three arguments of `check_range`."""

    least: float
    most: float = math.inf
    above: bool = False


SIZE, COUNT, WEIGHT, SHARE, RATE = Range(1), Range(0), Range(0), Range(0, 1), Range(0, 1)
ANY = Range(-1e9, 1e9)
# Divided by, taken the logarithm of, or without any effect at 0.
ABOVE_ZERO = Range(0, above=True)
# Transitions: room for the longest episode of any world.
CAPACITY = Range(2000)

RANGES: Mapping[type, Mapping[str, Range]] = {
    NanoConfig: dict.fromkeys(
        ("image_size", "cameras", "instruction_bytes", "actions", "proprio", "width", "layers", "heads",
         "stem_channels", "keypoints", "keypoint_features", "z_tokens", "z_dim", "chunk", "head_width",
         "head_blocks", "flow_steps"),
        SIZE,
    ),
    VisionLanguageConfig: dict.fromkeys(
        ("image_size", "cameras", "instruction_tokens", "actions", "proprio", "action_queries", "heads",
         "z_tokens", "z_dim", "chunk", "head_width", "head_blocks", "flow_steps"),
        SIZE,
    ) | {"padding_token": COUNT},
    PretrainConfig: {
        "steps": COUNT, "batch_size": SIZE, "learning_rate": RATE, "pretrained_rate": WEIGHT,
        "warmup_steps": COUNT, "weight_decay": WEIGHT, "gradient_clip": ABOVE_ZERO, "average_decay": SHARE,
        "lambda_ib": WEIGHT, "lambda_objects": WEIGHT, "critic_learning_rate": RATE, "critic_width": SIZE,
        "brightness": SHARE, "contrast": SHARE, "channel_gain": SHARE, "lora_rank": COUNT, "seed": COUNT,
        "checkpoint_every": SIZE, "log_every": SIZE,
    },
    HeadRefinementConfig: {
        "steps": COUNT, "batch_size": SIZE, "learning_rate": RATE, "weight_decay": WEIGHT,
        "gradient_clip": ABOVE_ZERO, "log_every": SIZE,
    },
    SftConfig: {"steps": COUNT, "learning_rate": RATE, "lora_rank": COUNT},
    OnlineConfig: {
        "environment_steps": COUNT, "episodes": SIZE, "step_limit": SIZE, "warmup_episodes": SIZE,
        "warmup_noise": WEIGHT, "validate_every": COUNT, "validation_episodes": COUNT,
        "checkpoint_every": SIZE,
    },
    RewardConfig: {"success": ANY, "step": ANY, "gamma": SHARE},
    TaskSamplingConfig: {"target": SHARE, "temperature": ABOVE_ZERO, "momentum": SHARE},
    ResidualConfig: {
        "experts": SIZE, "top_m": SIZE, "width": SIZE, "hidden_layers": SIZE, "embedding": SIZE,
        "temperature": ABOVE_ZERO, "alpha": WEIGHT, "alpha_gripper": WEIGHT, "std_initial": ABOVE_ZERO,
        "std_min": ABOVE_ZERO, "std_max": ABOVE_ZERO,
    },
    CriticConfig: dict.fromkeys(("members", "width", "blocks", "token_width", "queries"), SIZE),
    DygroConfig: {
        "batch": SIZE, "offline_fraction": SHARE, "critic_learning_rate": RATE, "critic_weight_decay": WEIGHT,
        "actor_learning_rate": RATE, "return_weight": SHARE, "target_rate": SHARE,
        "calibration_weight": WEIGHT, "calibration_samples": SIZE, "actor_interval": SIZE,
        "anchor_weight": WEIGHT, "actor_pessimism": WEIGHT, "temperature_initial": ABOVE_ZERO,
        "temperature_learning_rate": RATE, "target_std": ABOVE_ZERO, "contrastive_weight": WEIGHT,
        "balance_weight": WEIGHT, "gradient_clip": ABOVE_ZERO, "actor_average": SHARE,
    },
    OffPolicyConfig: {
        "offline_capacity": CAPACITY, "online_capacity": CAPACITY, "warmup_critic_updates": COUNT,
        "warmup_actor_updates": COUNT, "updates_per_transition": WEIGHT, "noise_persistence": SHARE,
    },
    PpoConfig: {
        "learning_rate": RATE, "value_learning_rate": RATE, "gae_lambda": SHARE, "clip": ABOVE_ZERO,
        "epochs": SIZE, "minibatch": SIZE, "entropy_weight": WEIGHT, "target_kl": ABOVE_ZERO,
        "gradient_clip": ABOVE_ZERO, "value_width": SIZE, "actor_average": SHARE,
    },
}  # fmt: skip


def check_numbers(config: Any, prefix: str = "--") -> None:
    """Hold a configuration's numbers, and those of the configurations in it, against their ranges.

    Args:
        config: A dataclass; one that has no ranges is passed over, not what stands in it.
        prefix: What the options' names begin with.

    Raises:
        UserError: A number is out of its range; names the option.
    """
    ranges = _ranges_of(type(config))
    for field in fields(config):
        value, option = getattr(config, field.name), prefix + field.name.replace("_", "-")
        if is_dataclass(value):
            check_numbers(value, f"{option}.")
        elif ranges is not None:
            for number in _numbers(value):
                if field.name not in ranges:
                    raise UserError(f"{option} has no range in option_ranges.py, got {number}")
                check_range(option, number, *ranges[field.name])


def _ranges_of(kind: type) -> Mapping[str, Range] | None:
    return next((RANGES[known] for known in kind.__mro__ if known in RANGES), None)


def _numbers(value: Any) -> Iterator[float]:
    """Yield the value if it is a number, or the numbers that it holds in a row."""
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, int | float) and not isinstance(item, bool):
            yield item
