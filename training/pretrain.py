"""Stage I from demonstrations to the frozen policy: joint training, then the head on frozen latents.

Resumable to the last bit on a CPU; what a step does is in `pretrainer`.
"""

from __future__ import annotations

import gc
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from dygro_ros.errors import DataError
from models.base_policy import BasePolicy, PolicyConfig
from training.checkpoint import has_state
from training.dataset import FrameDataset
from training.head_refinement import encode_frames, refine_head
from training.monitor import MetricLog, progress_bar
from training.pretrainer import PretrainConfig, Pretrainer
from training.processes import ALONE, Processes

CHECKPOINT_FOLDER = "checkpoint"
STAGE = "pretrain"


def fingerprint_of(config: PretrainConfig, network: PolicyConfig, dataset: FrameDataset) -> dict[str, Any]:
    """Return what a checkpoint must match: configuration, sizes, and the demonstrations' frame counts."""
    return {
        "pretrain": asdict(config),
        "network": asdict(network),
        "demonstrations": {"episodes": len(dataset.lengths), "frames": len(dataset)},
    }


def pretrain(
    config: PretrainConfig,
    network: PolicyConfig,
    dataset: FrameDataset,
    folder: Path,
    *,
    resume: bool = False,
    start: BasePolicy | None = None,
    processes: Processes = ALONE,
) -> BasePolicy:
    """Run Stage I and return the frozen policy with averaged weights, on the CPU.

    Args:
        config: How to learn.
        network: Sizes of the policy.
        dataset: Demonstrations; images must have the policy's size and number of cameras.
        folder: Checkpoints (`checkpoint/`) and log (`pretrain.jsonl`) go there.
        resume: Go on from the newest checkpoint, if there is one.
        start: Begin with a copy of this policy's weights and normalisation instead of fresh ones.
        processes: Who trains together; all call this alike. Only the main one writes, and returns a policy
            whose head was refined.

    Raises:
        CheckpointError: The checkpoint is damaged or belongs to another configuration.
        NotFiniteError: A loss or gradient is not finite.
        DataError: Images of another size or number than the policy expects, or no simulator state where
            `lambda_objects` needs it.
    """
    expected = (network.cameras, network.image_size, network.image_size, 3)
    if dataset.image_shape != expected:
        raise DataError(
            f"the policy expects images of shape {expected}, the demonstrations hold {dataset.image_shape}"
        )
    fingerprint = fingerprint_of(config, network, dataset)
    checkpoint = folder / CHECKPOINT_FOLDER
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        trainer = Pretrainer(config, network, dataset, start, processes)
        # Copied, and nobody else may hold its gigabytes: the first policy that transformers builds is kept by
        # the frames of an import that failed inside it, a cycle.
        del start
        gc.collect()
        if resume and has_state(checkpoint):
            trainer.restore(checkpoint, fingerprint)
        processes.wait()
        if not processes.main:
            while trainer.steps_done < config.steps:
                trainer.step()
            return trainer.averaged_policy().cpu()
        with MetricLog(folder, STAGE, resume_step=trainer.steps_done) as log, progress_bar() as progress:
            task = progress.add_task("Stage I", total=config.steps, completed=trainer.steps_done, status="")
            gathered: list[dict[str, float]] = []
            while trainer.steps_done < config.steps:
                gathered.append(trainer.step())
                done = trainer.steps_done
                saves = done % config.checkpoint_every == 0 or done == config.steps
                # Also before a checkpoint, so that a resumed run averages over the same steps.
                if done % config.log_every == 0 or saves:
                    means = {name: sum(m[name] for m in gathered) / len(gathered) for name in gathered[0]}
                    log.write(done, means)
                    gathered.clear()
                    progress.update(task, completed=done, status=f"cloning loss {means['cloning_loss']:.4f}")
                if saves:
                    trainer.save(checkpoint, fingerprint)
            policy = trainer.averaged_policy()
            del trainer  # weights, gradients and moments, which the rest has no use for
            _refine(config, policy, dataset, log, progress)
        return policy.cpu()


def _refine(
    config: PretrainConfig, policy: BasePolicy, dataset: FrameDataset, log: MetricLog, progress: Progress
) -> None:
    if config.head_refinement.steps == 0:
        return
    encoding = progress.add_task("Stage I, encoding", total=len(dataset), status="")
    frames = encode_frames(policy, dataset, lambda count: progress.advance(encoding, count))
    policy.cpu()
    task = progress.add_task("Stage I, head", total=config.head_refinement.steps, status="")

    def record(step: int, metrics: dict[str, float]) -> None:
        log.write(config.steps + step, metrics)
        progress.update(task, completed=step, status=f"loss {metrics['head_loss']:.4f}")

    refine_head(config.head_refinement, policy, frames, seed=config.seed, record=record)
