"""Successes that a stricter eye would doubt: RoboTwin's rules look at positions and at one moment.

    python benchmarks/doubtful_successes.py runs/nano/bundle

A policy that learns from a rule may learn the rule's gaps. Counts, among a bundle's successes on unseen
seeds, those where a bowl or cup leans by more than 30 degrees, and those that are none any more after the
arms were held still for one second. (The hammer's task is a touch: it is left out.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table

from dygro_ros.bundle import read_bundle
from dygro_ros.errors import run_main
from dygro_ros.inference import OnnxPolicy
from dygro_ros.layout import CONTROL_RATE_HZ
from sim2real.bundle_episodes import EpisodeJob, Output, cell_for, run_episode
from sim2real.cell.randomization import CLEAN
from sim2real.cell.scene import FIXED_OBJECTS, TASK_OBJECTS
from sim2real.cell.tasks import is_success
from sim2real.cell.work_cell import WorkCell
from sim2real.seeds import SeedPurpose, seeds_for

OUTPUTS: tuple[Output, ...] = ("base_chunk", "chunk")
STANDING_TASKS = ("stack_bowls_two", "place_empty_cup")
KEPT_TASKS = (*STANDING_TASKS, "pick_dual_bottles")
LARGEST_TILT_RAD = math.radians(30.0)


@dataclass(frozen=True)
class DoubtOptions:
    """Count successes that a stricter eye would doubt."""

    bundle: Annotated[Path, tyro.conf.Positional]
    """Policy bundle."""
    episodes: int = 100
    """Episodes of each task."""
    evaluation_seed: int = 0
    """Which block of evaluation seeds (0..999)."""


def leans(cell: WorkCell) -> bool:
    """Return whether one of the task's loose objects leans by more than the limit."""
    loose = [body for body in TASK_OBJECTS[cell.task] if body not in FIXED_OBJECTS]
    return any(cell.rotation(body)[2, 2] < math.cos(LARGEST_TILT_RAD) for body in loose)


def judge(
    cell: WorkCell, policy: OnnxPolicy, output: Output, task: str, seed: int
) -> tuple[bool, bool, bool]:
    """Run one episode; return whether it succeeded, and if so whether it leans and whether it is lost."""
    if not run_episode(cell, policy, output, EpisodeJob(0, task, seed)).success:
        return False, False, False
    leaning = task in STANDING_TASKS and leans(cell)
    targets = cell.drive_targets()
    for _ in range(round(CONTROL_RATE_HZ)):
        cell.step(targets)
    return True, leaning, not is_success(task, cell)


def main() -> None:
    """Print the counts."""
    options = tyro.cli(DoubtOptions, description=__doc__)
    bundle = read_bundle(options.bundle)
    policy = OnnxPolicy(bundle)
    cell = cell_for(bundle, CLEAN, "seen")
    seeds = seeds_for(SeedPurpose.EVALUATION, options.evaluation_seed, 0, options.episodes)
    table = Table("task", "chunk", f"successes of {len(seeds)}", "leaning", "lost a second later")
    for task in KEPT_TASKS:
        for output in OUTPUTS:
            outcomes = [
                judge(cell, policy, output, task, seed)
                for seed in track(seeds, f"{task}, {output}", transient=True)
            ]
            counts = (str(sum(column)) for column in zip(*outcomes, strict=True))
            table.add_row(task, output, *counts)
    Console().print(table)


if __name__ == "__main__":
    run_main(main)
