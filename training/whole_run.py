"""A whole run: its options are read and checked, then every stage that is not finished yet is run.

Knows the order of the stages and who takes part in them; `stages` knows what each of them does.
"""

from __future__ import annotations

import torch
import tyro
from rich.console import Console

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


def parse(arguments: list[str], description: str = "") -> TrainConfig:
    """Return the resolved configuration: the preset's values, then the options given.

    Args:
        arguments: The command line without the command's name.
        description: What `--help` says first.
    """
    name = PRESETS[0]
    for index, argument in enumerate(arguments):
        if argument == "--preset" and index + 1 < len(arguments):
            name = arguments[index + 1]
        elif argument.startswith("--preset="):
            name = argument.partition("=")[2]
    return tyro.cli(TrainConfig, default=preset(name), args=arguments, description=description).resolved()


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
