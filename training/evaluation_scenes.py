"""Which episodes evaluate a run's policies: the evaluation seeds, in RoboTwin those that count there.

RoboTwin counts a seed only if its expert succeeds on it. In training a seed that does not count stands for
the next one that does; two seeds of an evaluation would then be one episode. So an evaluation looks for its
seeds first, keeps what came of each in a book beside its results, and names those that it passed over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sim2real.robotwin.environment import RobotwinEnvironment
from sim2real.robotwin.find_seeds import find_seeds, report
from sim2real.robotwin.seed_book import SeedBook
from sim2real.robotwin.world import RobotwinWorld
from sim2real.seeds import SeedPurpose, seeds_for
from sim2real.world import World
from training.config import TrainConfig

BOOK_FILE = "seeds.json"


@dataclass(frozen=True)
class EvaluationScenes:
    """What an evaluation runs.

    Attributes:
        world: Where.
        seeds: Seeds by task, as many for each.
        passed_over: For the results: nothing, or `seeds_passed_over`, reasons by task and seed.
    """

    world: World
    seeds: Mapping[str, Sequence[int]]
    passed_over: Mapping[str, Any]


def evaluation_scenes(config: TrainConfig, out: Path) -> EvaluationScenes:
    """Return the episodes of a run's evaluation, in RoboTwin after the expert has tried their seeds.

    Args:
        config: The run.
        out: The evaluation's folder; made, if its book of seeds goes there.

    Raises:
        UserError: RoboTwin's expert fails on all seeds.
        DataError: The book of seeds is missing or damaged.
    """
    world, asked = config.simulated_world, config.evaluation
    if isinstance(world, RobotwinWorld):
        return _that_count(world, config.tasks, asked.seed, asked.episodes, out)
    seeds = seeds_for(SeedPurpose.EVALUATION, asked.seed, 0, asked.episodes)
    return EvaluationScenes(world, dict.fromkeys(config.tasks, seeds), {})


def _that_count(
    world: RobotwinWorld, tasks: Sequence[str], run_seed: int, count: int, out: Path
) -> EvaluationScenes:
    path = out.absolute() / BOOK_FILE
    known = path if path.exists() else world.book
    book = SeedBook(world.task_config) if known is None else SeedBook.read(known, world.task_config)
    out.mkdir(parents=True, exist_ok=True)
    book.write(path)
    seeds: dict[str, Sequence[int]] = {}
    passed_over: dict[str, dict[str, str]] = {}
    with RobotwinEnvironment(world.installation, task_config=world.task_config, book=book) as environment:
        for task in tasks:
            looked_at = find_seeds(
                environment, task, SeedPurpose.EVALUATION, run_seed, count, lambda: book.write(path)
            )
            print(report(book, task, looked_at))
            seeds[task] = book.solvable(task, looked_at)
            passed_over[task] = {str(s): why for s, why in book.passed_over(task, looked_at).items()}
    return EvaluationScenes(replace(world, book=path), seeds, {"seeds_passed_over": passed_over})
