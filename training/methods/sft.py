"""Supervised fine-tuning baseline: the base policy goes on with the same demonstrations, no rollouts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from models.base_policy import BasePolicy
from training.dataset import FrameDataset
from training.pretrain import pretrain
from training.pretrainer import PretrainConfig
from training.processes import ALONE, Processes


@dataclass(frozen=True)
class SftConfig:
    """How long and how fast to go on."""

    steps: int = 1_500
    """Further gradient steps on the demonstrations."""
    learning_rate: float = 3e-4
    """Peak rate: below Stage I's, because the weights are no longer fresh."""
    lora_rank: int = 0
    """Rank of adapters on pretrained towers, whose own weights then stay; 0 trains the weights themselves."""


def fine_tune(
    config: SftConfig,
    pretrain_config: PretrainConfig,
    base: BasePolicy,
    dataset: FrameDataset,
    folder: Path,
    *,
    resume: bool,
    processes: Processes = ALONE,
) -> BasePolicy:
    """Continue Stage I from `base`; everything but steps, rate and seed is as it was in Stage I."""
    continued = replace(
        pretrain_config,
        steps=config.steps,
        learning_rate=config.learning_rate,
        lora_rank=config.lora_rank,
        # Adapters start from nothing and learn at the full rate.
        pretrained_rate=1.0 if config.lora_rank else pretrain_config.pretrained_rate,
        seed=pretrain_config.seed + 1,
    )
    return pretrain(continued, base.config, dataset, folder, resume=resume, start=base, processes=processes)
