"""What the information bottleneck removes from z: Stage I with and without it, under domain randomisation.

    python benchmarks/information_bottleneck.py --weights 0 1e-3 1e-1

Trains one Stage I policy for each weight on the same randomised demonstrations, then reads objects, task and
nuisance factors (colours of light and table) by linear probes on held-out episodes: from the mean of z and
from samples of it, which is what the bottleneck bounds. Also prints each policy's success. Stages that are
finished are not repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from dygro_ros.errors import run_main
from dygro_ros.evaluation.statistics import wilson_interval
from models.base_policy import NanoConfig
from models.residual import ResidualConfig
from sim2real.cell.randomization import RandomizationConfig
from sim2real.cell.work_cell import TASKS
from sim2real.cell.world import CellWorld
from sim2real.seeds import SeedPurpose, seeds_for
from training.config import TrainConfig
from training.dataset import load_dataset
from training.demonstrations import collect
from training.episodes import EpisodeRequest
from training.pretrain import pretrain
from training.probes import Source, comparison_table, run_probes
from training.rollouts import LocalProcesses, RolloutSpec, to_weights
from training.stage_one import WEIGHTS_FILE, build_residual, load_base_policy, save_base_policy

SOURCES: tuple[Source, ...] = ("z", "z_sample")


@dataclass(frozen=True)
class BottleneckOptions:
    """Train Stage I with different weights of the information bottleneck and compare what z holds."""

    out: Path = Path("runs/bottleneck")
    """Folder for demonstrations and policies."""
    weights: tuple[float, ...] = (0.0, 1e-3, 1e-1)
    """Values of --pretrain.lambda-ib."""
    demonstrations: int = 60
    """Demonstrations of each task to train on."""
    held_out: int = 40
    """Demonstrations of each task for the probes."""
    episodes: int = 50
    """Episodes of each task for success."""
    seed: int = 0
    """Training seed."""
    workers: int = 2
    """Processes."""


def successes(folder: Path, options: BottleneckOptions) -> int:
    """Return how many episodes of all tasks the policy in `folder` solves under randomisation."""
    residual = ResidualConfig()
    world = CellWorld(RandomizationConfig.from_name("randomized"))
    spec = RolloutSpec(folder, residual, world)
    engine = LocalProcesses(spec, options.workers)
    try:
        seeds = seeds_for(SeedPurpose.EVALUATION, options.seed, 0, options.episodes)
        requests = [EpisodeRequest(task=task, seed=seed, mode="base") for task in TASKS for seed in seeds]
        weights = to_weights(build_residual(load_base_policy(folder), residual, world))
        return sum(episode.success for episode in engine.collect(requests, weights))
    finally:
        engine.close()


def main() -> None:
    """Train, probe and print."""
    options = tyro.cli(BottleneckOptions, description=__doc__)
    defaults = TrainConfig()
    held_out = options.out / "held_out"
    for folder, episodes, seed in (
        (options.out / "demonstrations", options.demonstrations, options.seed),
        (held_out, options.held_out, options.seed + 1),
    ):
        collect(
            replace(defaults.demonstrations, episodes=episodes, companion_episodes=0),
            folder,
            randomization="randomized",
            seed=seed,
            workers=options.workers,
        )
    folders = {weight: options.out / f"lambda_{weight:g}" for weight in options.weights}
    for weight, folder in folders.items():
        if not (folder / WEIGHTS_FILE).is_file():
            files = sorted((options.out / "demonstrations").glob("**/*.hdf5"))
            dataset = load_dataset(files, NanoConfig().chunk)
            config = replace(defaults.pretrain, lambda_ib=weight, seed=options.seed)
            save_base_policy(folder, pretrain(config, NanoConfig(), dataset, folder, resume=True))
    console = Console()
    for source in SOURCES:
        found = run_probes(tuple(folders.values()), held_out, source, every=2)
        reports = {f"lambda {weight:g}": found[str(folder)] for weight, folder in folders.items()}
        table = comparison_table(reports)
        table.title = f"Linear probes of {source} on held-out episodes"
        console.print(table)
    total = options.episodes * len(TASKS)
    table = Table("weight", f"success of {total} randomised episodes [%]")
    for weight, folder in folders.items():
        done = successes(folder, options)
        low, high = wilson_interval(done, total)
        table.add_row(f"{weight:g}", f"{100 * done / total:.1f} ({100 * low:.0f} to {100 * high:.0f})")
    console.print(table)


if __name__ == "__main__":
    run_main(main)
