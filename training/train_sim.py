"""Train a base policy and a DyGRO policy in the simulated work cell, and hand over a policy bundle.

    python training/train_sim.py                      # the full nano run, about half an hour on two cores
    python training/train_sim.py --preset quick       # every stage in minutes
    python training/train_sim.py --preset libero      # LIBERO's tasks (make libero first)
    python training/train_sim.py --world robotwin ... # RoboTwin's tasks: docs/robotwin.md
    python training/train_sim.py --resume             # go on after an interruption
    torchrun --standalone --nproc-per-node 8 -- training/train_sim.py --preset base    # eight GPUs

Stages: demonstrations, Stage I (information-bottleneck pretraining), Stage II (mixture of RL residuals),
bundle, evaluation with report. LIBERO's and RoboTwin's policies are evaluated without a bundle, which the
robot side could not run. See `--help` for every option.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# The command is run from the checkout as `python training/train_sim.py`, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import tyro
from rich.console import Console

from dygro_ros.errors import run_main
from dygro_ros.inference import probe
from training.base_run import check_base_run
from training.config import PRESETS, TrainConfig, preset
from training.demonstration_stage import (
    check_sources,
    check_step_limit,
    make_demonstrations,
    without_suites,
)
from training.processes import Processes, joined
from training.ray_session import check_available
from training.run_folder import claimed
from training.stages import (
    evaluate,
    evaluate_policy_in_world,
    make_base_bundle,
    make_base_policy,
    make_bundle,
    make_policy,
)


def parse(arguments: list[str]) -> TrainConfig:
    """Return the resolved configuration: the preset's values, then the options given."""
    name = PRESETS[0]
    for index, argument in enumerate(arguments):
        if argument == "--preset" and index + 1 < len(arguments):
            name = arguments[index + 1]
        elif argument.startswith("--preset="):
            name = argument.partition("=")[2]
    return tyro.cli(TrainConfig, default=preset(name), args=arguments, description=__doc__).resolved()


def train(config: TrainConfig) -> None:
    """Run all stages that are not finished yet."""
    with joined(config.device) as processes:
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        if processes.main:
            _lead(config, processes)
        else:
            _follow(config, processes)


def _lead(config: TrainConfig, processes: Processes) -> None:
    console = Console()
    # It runs the frozen policy in Stage II and checks the bundle, hours after Stage I has begun.
    probe(config.device)
    check_base_run(config)
    check_sources(config)
    config = without_suites(config)
    if config.uses_ray:
        check_available(config.ray)
    if config.base_run is None or config.method == "sft":
        processes.rows(config.pretrain.batch_size)
    with claimed(config):
        _stages(config, processes, console)


def _stages(config: TrainConfig, processes: Processes, console: Console) -> None:
    console.rule("demonstrations")
    files = make_demonstrations(config)
    if config.recorded.folder is None:
        check_step_limit(config, files)
    processes.wait()
    console.rule("Stage I")
    base = make_base_policy(config, files, processes)
    console.rule(f"Stage II: {config.method}")
    policy, environment_steps = make_policy(config, base, files, processes)
    if config.world != "cell":
        console.rule("evaluation")
        evaluate_policy_in_world(config, base, policy, environment_steps)
        return
    console.rule("bundle")
    bundle = make_bundle(config, policy, environment_steps)
    base_bundle = make_base_bundle(config, base)
    console.print(f"Policy bundle: {bundle}")
    console.rule("evaluation")
    evaluate(config, bundle, base_bundle)


def _follow(config: TrainConfig, processes: Processes) -> None:
    """Take part in what several processes share: Stage I, and the supervised baseline."""
    processes.wait()
    config = without_suites(config)
    files = make_demonstrations(config)
    base = make_base_policy(config, files, processes)
    if config.method == "sft":
        make_policy(config, base, files, processes)


def main() -> None:
    """Parse the command line and train."""
    if sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")
    train(parse(sys.argv[1:]))


if __name__ == "__main__":
    run_main(main)
