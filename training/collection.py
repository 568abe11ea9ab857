"""Collecting demonstrations by processes: seeds tried in order, successes kept, failures counted.

A collection is a folder: one sub-folder for each task (and for each task with a companion's objects beside
it) with `episode0.hdf5`, `episode1.hdf5`, ..., and `index.json` with the settings, the seeds kept and those
skipped. Its contents depend neither on the number of workers nor on interruptions. What makes one episode is
a `Recipe`; knows neither simulators nor file formats.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dygro_ros.errors import DataError, RunFolderError
from sim2real.seeds import SeedPurpose, seeds_for
from training.demonstration_index import INDEX_NAME, DemonstrationIndex, Stream, read_index

# Scenes with a companion take their seeds from the second half of a run's block.
_COMPANION_SEED_START = 50_000
# An expert that fails this often has been broken: better to say so than to try for ever.
_TRIES_BEFORE_GIVING_UP = 30
_LEAST_SUCCESS_SHARE = 0.1


class Recipe(Protocol):
    """What makes an episode of a (task, companion, seed) what it is; travels to the workers."""

    @property
    def seed(self) -> int:
        """Run seed, which selects the block of episode seeds."""

    def settings(self) -> dict[str, Any]:
        """Return what every episode is made with, as JSON values, for the index."""

    def attempt(self, task: str, companion: str | None, seed: int, path: Path) -> int | None:
        """Run the expert on one seed; write the episode and return its length, or None where it fails."""


def _end_with_parent() -> None:
    """Let a worker end when its parent is killed, instead of waiting for work for ever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _open_index(recipe: Recipe, folder: Path) -> DemonstrationIndex:
    """Return the collection that `folder` holds, or a new one.

    Raises:
        RunFolderError: The folder holds something else, or episodes made with other settings.
    """
    if (folder / INDEX_NAME).exists():
        index = read_index(folder)
        for name, wanted in recipe.settings().items():
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
    index = DemonstrationIndex(folder, recipe.settings(), [])
    index.save()
    return index


class _Collector:
    """Fills the streams of one collection by a pool of processes."""

    def __init__(
        self, recipe: Recipe, index: DemonstrationIndex, pool: ProcessPoolExecutor, workers: int
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
                future = self.pool.submit(self.recipe.attempt, stream.task, stream.companion, seed, path)
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
            settings = ", ".join(f"{name} {value!r}" for name, value in self.recipe.settings().items())
            raise DataError(
                f"{path.parent}: the expert solved only {len(stream.seeds)} of {tried} episodes "
                f"with {settings}"
            )


def fill_collection(
    recipe: Recipe,
    folder: Path,
    wanted: Mapping[tuple[str, str | None], int],
    *,
    workers: int = 2,
    show_progress: bool = True,
) -> DemonstrationIndex:
    """Collect demonstrations into a folder, or complete those that it holds.

    Args:
        recipe: What makes the episodes.
        folder: New, empty, or a collection made with the same recipe: what it holds is kept.
        wanted: Successful episodes of each (task, companion).
        workers: Processes; they change the duration, not the result.
        show_progress: Show bars on the terminal.

    Returns:
        The index of what was asked for; the folder may hold more.

    Raises:
        RunFolderError: The folder holds something else, or episodes made with other settings.
        DataError: The experts fail nearly always.
    """
    seeds_for(SeedPurpose.DEMONSTRATIONS, recipe.seed, 0, 0)  # checks the run seed before anything is written
    index = _open_index(recipe, folder)
    streams = {(stream.task, stream.companion): stream for stream in index.streams}
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
