"""Demonstrations: scripted experts run in parallel, successes kept as RoboTwin HDF5 files, failures counted.

A collection is a folder: one sub-folder for each task (and for each task with a companion's objects beside
it) with `episode0.hdf5`, `episode1.hdf5`, ..., and `index.json` with the settings, the seeds kept and those
skipped. Its contents depend neither on the number of workers nor on interruptions: seeds are tried in order,
and the first successes are kept. Knows experts and files; knows no network.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import tyro
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dygro_ros.errors import DataError, RunFolderError, UserError, run_main
from dygro_ros.layout import CONTROL_RATE_HZ
from sim2real.cell.experts import JointNoise, run_expert
from sim2real.cell.instructions import all_instructions
from sim2real.cell.randomization import RandomizationConfig
from sim2real.cell.tasks import COMPANIONS, TASKS, check_task, instruction_details
from sim2real.cell.work_cell import WorkCell
from sim2real.seeds import SeedPurpose, seeds_for
from training.demonstration_index import INDEX_NAME, DemonstrationIndex, Stream, read_index
from training.episode_file import EpisodeRecord, write_episode

# Scenes with a companion take their seeds from the second half of a run's block.
_COMPANION_SEED_START = 50_000
# An expert that fails this often has been broken: better to say so than to try for ever.
_TRIES_BEFORE_GIVING_UP = 30
_LEAST_SUCCESS_SHARE = 0.1


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


@dataclass(frozen=True)
class _Recipe:
    """What makes one episode of a (task, companion, seed) what it is; kept in the index."""

    randomization: str
    noise_rad: float
    image_size: int
    wrist_cameras: bool
    seed: int


@lru_cache(maxsize=1)
def _work_cell(recipe: _Recipe) -> WorkCell:
    """Return this process's work cell: compiling its models costs more than an episode."""
    config = RandomizationConfig.from_name(recipe.randomization)
    return WorkCell(config, image_size=recipe.image_size, wrist_cameras=recipe.wrist_cameras)


def _try_episode(recipe: _Recipe, task: str, companion: str | None, seed: int, path: Path) -> int | None:
    """Run the expert on one seed; write the episode and return its length, or None where it fails."""
    cell = _work_cell(recipe)
    noise = JointNoise(max_magnitude=recipe.noise_rad)
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


def _end_with_parent() -> None:
    """Let a worker end when its parent is killed, instead of waiting for work for ever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _open_index(recipe: _Recipe, folder: Path) -> DemonstrationIndex:
    """Return the collection that `folder` holds, or a new one.

    Raises:
        RunFolderError: The folder holds something else, or episodes made with other settings.
    """
    if (folder / INDEX_NAME).exists():
        index = read_index(folder)
        for name, wanted in asdict(recipe).items():
            if index.settings.get(name) != wanted:
                raise RunFolderError(
                    f"{folder / INDEX_NAME}: episodes there were made with {name} "
                    f"{index.settings.get(name)!r}, asked for {wanted!r}: choose another folder"
                )
        return index
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunFolderError(
            f"{folder}: neither empty nor a collection of demonstrations: choose another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    index = DemonstrationIndex(folder, asdict(recipe), [])
    index.save()
    return index


class _Collector:
    """Fills the streams of one collection by a pool of processes."""

    def __init__(
        self, recipe: _Recipe, index: DemonstrationIndex, pool: ProcessPoolExecutor, workers: int
    ) -> None:
        self.recipe = recipe
        self.index = index
        self.pool = pool
        self.workers = workers

    def fill(self, stream: Stream, wanted: int, progress: Progress) -> None:
        """Try seeds in order until the stream holds `wanted` episodes.

        No more tries run at once than episodes are missing, and results are taken in the order of the seeds:
        no success is ever thrown away, and the outcome is that of a single worker.
        """
        folder = self.index.folder / stream.name
        folder.mkdir(exist_ok=True)
        for leftover in (*folder.glob(".try*"), *folder.glob(".*.part")):  # of a collection that was killed
            leftover.unlink()
        bar = progress.add_task(
            stream.name, total=wanted, completed=len(stream.seeds), skipped=len(stream.skipped)
        )
        tries = len(stream.seeds) + len(stream.skipped)
        running: deque[tuple[int, Path, Future[int | None]]] = deque()
        while len(stream.seeds) < wanted:
            while len(running) < min(2 * self.workers, wanted - len(stream.seeds)):
                start = tries + (0 if stream.companion is None else _COMPANION_SEED_START)
                seed = seeds_for(SeedPurpose.DEMONSTRATIONS, self.recipe.seed, start, 1)[0]
                path = folder / f".try{seed}.hdf5"
                future = self.pool.submit(
                    _try_episode, self.recipe, stream.task, stream.companion, seed, path
                )
                running.append((seed, path, future))
                tries += 1
            self._take(stream, *running.popleft())
            progress.update(bar, completed=len(stream.seeds), skipped=len(stream.skipped))

    def _take(self, stream: Stream, seed: int, path: Path, future: Future[int | None]) -> None:
        steps = future.result()
        if steps is None:
            stream.skipped.append(seed)
        else:
            os.replace(path, path.with_name(f"episode{len(stream.seeds)}.hdf5"))
            stream.seeds.append(seed)
            stream.steps.append(steps)
        self.index.save()
        tried = len(stream.seeds) + len(stream.skipped)
        if tried >= _TRIES_BEFORE_GIVING_UP and len(stream.seeds) < _LEAST_SUCCESS_SHARE * tried:
            raise DataError(
                f"{path.parent}: the expert solved only {len(stream.seeds)} of {tried} episodes "
                f"with noise_rad {self.recipe.noise_rad:g}, randomization {self.recipe.randomization!r}"
            )


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
    for name, value, least in (
        ("workers", workers, 1),
        ("episodes", config.episodes, 0),
        ("companion_episodes", config.companion_episodes, 0),
        ("noise_rad", config.noise_rad, 0),
        ("image_size", config.image_size, 8),
    ):
        if value < least:
            raise UserError(f"{name} must be {least} or more, got {value}")
    seeds_for(SeedPurpose.DEMONSTRATIONS, seed, 0, 0)  # checks the run seed before anything is written
    recipe = _Recipe(randomization, config.noise_rad, config.image_size, config.wrist_cameras, seed)
    index = _open_index(recipe, folder)

    streams = {(stream.task, stream.companion): stream for stream in index.streams}
    wanted: dict[tuple[str, str | None], int] = {(task, None): config.episodes for task in tasks}
    for task in tasks:
        if task in COMPANIONS and config.companion_episodes:
            wanted[task, COMPANIONS[task]] = config.companion_episodes
    for key in wanted:
        if key not in streams:
            streams[key] = Stream(*key)
            index.streams.append(streams[key])
    missing = [key for key, count in wanted.items() if len(streams[key].seeds) < count]
    if missing:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[skipped]} skipped"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        # Spawned, not forked: each worker opens its own OpenGL context.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
        try:
            with Progress(*columns, disable=not show_progress) as progress:
                collector = _Collector(recipe, index, pool, workers)
                for key in missing:
                    collector.fill(streams[key], wanted[key], progress)
        finally:
            pool.shutdown(cancel_futures=True)
    return replace(index, streams=[streams[key].first(count) for key, count in wanted.items()])


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
