"""Demonstrations of the cell: scripted experts, successes kept as RoboTwin HDF5 files, failures counted.

How a collection is filled is in `collection`. Knows experts and files; knows no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import tyro

from dygro_ros.errors import run_main
from dygro_ros.layout import CONTROL_RATE_HZ
from sim2real.cell.experts import JointNoise, run_expert
from sim2real.cell.instructions import all_instructions
from sim2real.cell.randomization import RandomizationConfig
from sim2real.cell.tasks import COMPANIONS, TASKS, check_task, instruction_details
from sim2real.cell.work_cell import WorkCell
from training.collection import fill_collection
from training.demonstration_index import DemonstrationIndex
from training.episode_file import EpisodeRecord, write_episode
from training.option_checks import check_range


@dataclass(frozen=True)
class DemonstrationConfig:
    """How many demonstrations, and how they are recorded."""

    episodes: int = 20
    """Successful episodes for each task."""
    companion_episodes: int = 5
    """Successful episodes for each task with another task's objects beside it: only the instruction tells."""
    noise_rad: float = 0.06
    """Commands are disturbed by up to this [rad], drawn for each episode in 0..this; the labels are not."""
    image_size: int = 128
    """Height and width of the pictures [px]."""
    wrist_cameras: bool = False
    """Also record the two wrist cameras."""

    def check(self, prefix: str = "--demonstrations.") -> None:
        """Refuse numbers that make no sense.

        Args:
            prefix: What the options begin with on the caller's command line.

        Raises:
            UserError: One does; names its option.
        """
        for name, least in (("episodes", 0), ("companion_episodes", 0), ("noise_rad", 0), ("image_size", 8)):
            check_range(f"{prefix}{name.replace('_', '-')}", getattr(self, name), least)


@dataclass(frozen=True)
class CellRecipe:
    """What makes one episode of a (task, companion, seed) what it is; see `training.collection.Recipe`."""

    randomization: str
    noise_rad: float
    image_size: int
    wrist_cameras: bool
    seed: int

    def settings(self) -> dict[str, Any]:
        """Return every field."""
        return asdict(self)

    def attempt(self, task: str, companion: str | None, seed: int, path: Path) -> int | None:
        """Run the expert on one seed; write the episode and return its length, or None where it fails."""
        cell = _work_cell(self)
        noise = JointNoise(max_magnitude=self.noise_rad)
        episode = run_expert(cell, task, seed, companion=companion, noise=noise, images=True)
        if not episode.success or episode.images is None:
            return None
        # What was said comes first; the other ways to say it are as true of this episode.
        others = all_instructions(task, "seen", instruction_details(task, cell.layout))
        record = EpisodeRecord(
            instructions=(episode.instruction, *(text for text in others if text != episode.instruction)),
            rate_hz=CONTROL_RATE_HZ,
            proprio=episode.proprio,
            action=episode.actions_label,
            cameras=cell.cameras,
            images=episode.images,
            executed=episode.executed,
            privileged=episode.privileged,
            task=task,
            seed=seed,
            companion=companion,
            randomization=cell.draw.to_json(),
        )
        write_episode(path, record)
        return episode.steps


@lru_cache(maxsize=1)
def _work_cell(recipe: CellRecipe) -> WorkCell:
    """Return this process's work cell: compiling its models costs more than an episode."""
    config = RandomizationConfig.from_name(recipe.randomization)
    return WorkCell(config, image_size=recipe.image_size, wrist_cameras=recipe.wrist_cameras)


def collect(
    config: DemonstrationConfig,
    folder: Path,
    *,
    tasks: Sequence[str] = TASKS,
    randomization: str = "clean",
    seed: int = 0,
    workers: int = 2,
    show_progress: bool = True,
) -> DemonstrationIndex:
    """Collect demonstrations into a folder, or complete those that it holds.

    Args:
        config: How many, and how they are recorded.
        folder: New, empty, or a collection made with the same settings: what it holds is kept.
        tasks: Tasks to demonstrate.
        randomization: Domain randomisation, "clean" or "randomized".
        seed: Run seed, which selects the block of episode seeds.
        workers: Processes; they change the duration, not the result.
        show_progress: Show bars on the terminal.

    Returns:
        The index of what was asked for; the folder may hold more.

    Raises:
        UserError: A name is unknown or a number makes no sense.
        RunFolderError: The folder holds something else, or episodes made with other settings.
        DataError: The experts fail nearly always.
        DependencyError: Pictures cannot be rendered on this machine.
    """
    for task in tasks:
        check_task(task)
    RandomizationConfig.from_name(randomization)
    check_range("--workers", workers, 1)
    config.check("--")
    recipe = CellRecipe(randomization, config.noise_rad, config.image_size, config.wrist_cameras, seed)
    wanted: dict[tuple[str, str | None], int] = {(task, None): config.episodes for task in tasks}
    for task in tasks:
        if task in COMPANIONS and config.companion_episodes:
            wanted[task, COMPANIONS[task]] = config.companion_episodes
    return fill_collection(recipe, folder, wanted, workers=workers, show_progress=show_progress)


@dataclass(frozen=True)
class CollectionOptions(DemonstrationConfig):
    """Collect demonstrations with the scripted experts."""

    out: Path = Path("runs/demos")
    """Folder of the collection; one that was interrupted is completed."""
    tasks: tuple[str, ...] = TASKS
    """Tasks to demonstrate."""
    randomization: str = "clean"
    """Domain randomisation: clean or randomized."""
    seed: int = 0
    """Run seed, which selects the block of episode seeds."""
    workers: int = 2
    """Processes; they change the duration, not the result."""


def main() -> None:
    """Collect demonstrations and print what was kept."""
    options = tyro.cli(CollectionOptions)
    index = collect(
        options,
        options.out,
        tasks=options.tasks,
        randomization=options.randomization,
        seed=options.seed,
        workers=options.workers,
    )
    for stream in index.streams:
        counts = (
            f"{len(stream.seeds)} episodes, {sum(stream.steps)} frames, {len(stream.skipped)} seeds skipped"
        )
        print(f"{stream.name}: {counts}")


if __name__ == "__main__":
    run_main(main)
