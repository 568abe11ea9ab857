"""Does a bundle do what it is told? Two tasks' objects share the table and only the instruction differs.

    python benchmarks/instruction_following.py runs/nano/bundle

Each scene (unseen seeds) is run for each of its two tasks, by the base chunk and by the whole policy. The
first table counts which task was done. The second tells how far apart two chunks of one first frame are, same
picture and joints: for instructions of the two tasks, and for two wordings of one task.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table

from dygro_ros.bundle import read_bundle
from dygro_ros.errors import run_main
from dygro_ros.evaluation.statistics import wilson_interval
from dygro_ros.inference import OnnxPolicy
from dygro_ros.layout import ARM_INDICES
from sim2real.bundle_episodes import Output, cell_for
from sim2real.cell.instructions import all_instructions
from sim2real.cell.randomization import CLEAN
from sim2real.cell.tasks import COMPANIONS, instruction_details, is_success
from sim2real.cell.work_cell import WorkCell
from sim2real.seeds import SeedPurpose, seeds_for

OUTPUTS: tuple[Output, ...] = ("base_chunk", "chunk")
FIRST_TASK, SECOND_TASK = "beat_block_hammer", "place_empty_cup"


@dataclass(frozen=True)
class FollowingOptions:
    """Count which of two possible tasks a policy does when told one of them."""

    bundle: Annotated[Path, tyro.conf.Positional]
    """Policy bundle."""
    episodes: int = 50
    """Scenes."""
    evaluation_seed: int = 0
    """Which block of evaluation seeds (0..999)."""


def run_told(cell: WorkCell, policy: OnnxPolicy, output: Output, told: str, seed: int) -> tuple[bool, bool]:
    """Return whether the task that was told, and the other one, were done within the task's step limit."""
    other = COMPANIONS[told]
    cell.reset(told, seed, companion=other)
    other_done = False
    while not cell.succeeded and cell.step_count < cell.step_limit:
        answer = policy.infer(cell.images(), cell.instruction, cell.proprio())
        for action in getattr(answer, output):
            done = cell.step(action)
            other_done = other_done or is_success(other, cell)
            if done or cell.step_count >= cell.step_limit:
                break
    return cell.succeeded, other_done


def chunk_distances(cell: WorkCell, policy: OnnxPolicy, output: Output, seed: int) -> tuple[float, float]:
    """Return the mean distance [rad] of the first frame's chunks between tasks, and between wordings."""
    cell.reset(FIRST_TASK, seed, companion=SECOND_TASK)
    images, joints, arms = cell.images(), cell.proprio(), list(ARM_INDICES)

    def chunk(instruction: str) -> np.ndarray:
        return np.asarray(getattr(policy.infer(images, instruction, joints), output))[:, arms]

    wordings = [
        [chunk(text) for text in all_instructions(task, "seen", instruction_details(task, cell.layout))]
        for task in (FIRST_TASK, SECOND_TASK)
    ]
    between = np.mean([np.abs(a - b).mean() for a, b in zip(*wordings, strict=False)])
    within = np.mean([np.abs(a - b).mean() for own in wordings for a, b in pairwise(own)])
    return float(between), float(within)


def main() -> None:
    """Print both tables."""
    options = tyro.cli(FollowingOptions, description=__doc__)
    bundle = read_bundle(options.bundle)
    policy = OnnxPolicy(bundle)
    cell = cell_for(bundle, CLEAN, "seen")
    seeds = seeds_for(SeedPurpose.EVALUATION, options.evaluation_seed, 0, options.episodes)
    counts = Table("chunk", "told", "does it [%]", "does the other task [%]")
    distances = Table("chunk", "other task [rad]", "other wording [rad]")
    for output in OUTPUTS:
        for told in (FIRST_TASK, SECOND_TASK):
            outcomes = np.array(
                [
                    run_told(cell, policy, output, told, seed)
                    for seed in track(seeds, f"{output}, {told}", transient=True)
                ]
            )
            shown = []
            for done in outcomes.sum(axis=0).tolist():
                low, high = wilson_interval(done, len(seeds))
                shown.append(f"{100 * done / len(seeds):.0f} ({100 * low:.0f} to {100 * high:.0f})")
            counts.add_row(output, told, *shown)
        between, within = np.mean(
            [chunk_distances(cell, policy, output, seed) for seed in seeds[:10]], axis=0
        ).tolist()
        distances.add_row(output, f"{between:.4f}", f"{within:.4f}")
    Console().print(counts, distances)


if __name__ == "__main__":
    run_main(main)
