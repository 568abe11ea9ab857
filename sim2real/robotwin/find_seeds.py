"""Find the seeds on which RoboTwin's expert succeeds, and say which do not count.

    python -m sim2real.robotwin.find_seeds --checkout ~/RoboTwin --python ~/envs/RoboTwin/bin/python
        --tasks beat_block_hammer --count 100 --book runs/robotwin_seeds.json

RoboTwin's protocol: seeds from 100000 x (1 + seed) on, 100 episodes a task. Every outcome is in the book at
once: the same command goes on where it was stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dygro_ros.errors import UserError, run_main, unknown_name
from sim2real.robotwin.environment import MAX_PASSED_OVER, RobotwinEnvironment
from sim2real.robotwin.installation import Installation
from sim2real.robotwin.seed_book import SeedBook
from sim2real.seeds import SeedPurpose, seeds_for


@dataclass(frozen=True)
class FindSeeds:
    """Find the seeds on which RoboTwin's expert succeeds."""

    checkout: Path
    """RoboTwin's checkout."""
    python: Path
    """The interpreter of RoboTwin's environment."""
    tasks: tuple[str, ...]
    """Tasks to look for."""
    book: Path
    """File that keeps what came of each seed."""
    count: int = 100
    """Seeds that are wanted of each task."""
    task_config: str = "demo_clean"
    """RoboTwin's configuration of scenes and robot."""
    purpose: Annotated[SeedPurpose, tyro.conf.EnumChoicesFromValues] = SeedPurpose.EVALUATION
    """What the seeds are for; those of different purposes never meet."""
    seed: int = 0
    """Which block of seeds (0..999): the run's seed."""


def find_seeds(
    environment: RobotwinEnvironment,
    task: str,
    purpose: SeedPurpose,
    run_seed: int,
    count: int,
    kept: Callable[[], None],
) -> range:
    """Try seeds until enough are solvable, and return the range that was looked at.

    Args:
        environment: Tries them, and keeps what came of each in its book.
        task: RoboTwin's task.
        purpose: Whose block of seeds.
        run_seed: Which part of the block.
        count: Solvable seeds that are wanted.
        kept: Called after each seed.

    Raises:
        UserError: So many seeds in a row were not solvable that it cannot be the seeds.
    """
    found = tried = in_a_row = 0
    first = seeds_for(purpose, run_seed, 0, 1).start
    while found < count:
        (seed,) = seeds_for(purpose, run_seed, tried, 1)
        verdict = environment.judge(task, seed)
        kept()
        tried += 1
        found += verdict.solvable
        in_a_row = 0 if verdict.solvable else in_a_row + 1
        if in_a_row >= MAX_PASSED_OVER:
            raise UserError(
                f"{task}: RoboTwin's expert failed on {in_a_row} seeds in a row, at last on {seed} "
                f"({verdict.reason}): see whether RoboTwin itself runs (bash collect_data.sh)"
            )
    return range(first, first + tried)


def report(book: SeedBook, task: str, looked_at: range) -> str:
    """Return how many seeds count, and which were passed over for what reason."""
    passed_over = book.passed_over(task, looked_at)
    reasons = "; ".join(f"{seed} ({reason})" for seed, reason in passed_over.items())
    return (
        f"{task}: {len(book.solvable(task, looked_at))} seeds count among {looked_at.start} .. "
        f"{looked_at.stop - 1}; passed over: {reasons or 'none'}"
    )


def main() -> None:
    """Run the command line."""
    options = tyro.cli(FindSeeds)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.count < 1:
        raise UserError(f"--count must be at least 1, got {options.count}")
    installation = Installation(options.checkout.expanduser(), options.python.expanduser())
    installation.check(options.task_config)
    for task in options.tasks:
        if task not in installation.tasks():
            raise unknown_name("RoboTwin task", task, installation.tasks())
    options.book.parent.mkdir(parents=True, exist_ok=True)
    exists = options.book.exists()
    book = SeedBook.read(options.book, options.task_config) if exists else SeedBook(options.task_config)
    with RobotwinEnvironment(installation, task_config=options.task_config, book=book) as environment:
        for task in options.tasks:
            looked_at = find_seeds(
                environment,
                task,
                options.purpose,
                options.seed,
                options.count,
                lambda: book.write(options.book),
            )
            print(report(book, task, looked_at))


if __name__ == "__main__":
    run_main(main)
