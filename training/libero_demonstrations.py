"""Demonstrations of LIBERO's tasks by scripted experts: successes kept in LIBERO's own HDF5 format.

How a collection is filled is in `collection`. Knows experts and files; knows no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dygro_ros.errors import UserError, unknown_name
from sim2real.libero.environment import LiberoEnvironment
from sim2real.libero.experts import EXPERT_TASKS, ActionNoise, run_expert
from sim2real.libero.installation import installed
from sim2real.libero.interface import CONTROL_RATE_HZ
from sim2real.libero.tasks import TaskList
from sim2real.libero.world import ACTION_NAMES, PROPRIO_NAMES, LiberoWorld
from training.collection import fill_collection
from training.demonstration_index import DemonstrationIndex
from training.episode_record import EpisodeRecord
from training.formats.libero_attributes import attributes_of
from training.formats.libero_writer import LiberoFileWriter


@dataclass(frozen=True)
class LiberoConfig:
    """Where LIBERO is, and how its demonstrations are made."""

    folder: Path | None = None
    """Installation (make libero); unset: environments/libero, or what DYGRO_LIBERO names."""
    episodes: int = 20
    """Demonstrations for each task, from drawn initial states."""
    noise: float = 0.3
    """Actions are disturbed by up to this part of their range, drawn for each episode in 0..this; the labels
    are not."""


@dataclass(frozen=True)
class LiberoRecipe:
    """What makes one demonstration what it is; see `training.collection.Recipe`."""

    folder: Path | None
    noise: float
    image_size: int
    seed: int

    def settings(self) -> dict[str, Any]:
        """Return what decides an episode; where LIBERO lies does not."""
        return {"world": "libero", "noise": self.noise, "image_size": self.image_size, "seed": self.seed}

    def attempt(self, task: str, companion: str | None, seed: int, path: Path) -> int | None:
        """Run the expert from the initial state that `seed` draws; write the episode if it succeeds."""
        environment = _environment(self.folder, self.image_size)
        noise = ActionNoise(self.noise) if self.noise > 0 else None
        episode = run_expert(environment, task, seed=seed, noise=noise, images_every=1, replayable=True)
        if not episode.success:
            return None
        record = EpisodeRecord(
            instructions=(episode.instruction,),
            rate_hz=CONTROL_RATE_HZ,
            proprio=episode.proprio,
            action=episode.actions_label,
            cameras=LiberoWorld.cameras,
            images=episode.images,
            proprio_names=PROPRIO_NAMES,
            action_names=ACTION_NAMES,
            privileged=episode.privileged,
            joint_states=episode.joint_states,
            simulator_states=episode.simulator_states,
            task=episode.task,
            seed=seed,
        )
        found = environment.task
        task_file = environment.tasks.installation.task_file(found.suite, found.name)
        said = attributes_of(found, task_file, environment.origin(), self.image_size)
        with LiberoFileWriter(
            path, attributes=said.attributes, problem=said.problem, environment=said.environment
        ) as file:
            file.add(record, model=episode.model)
        return episode.steps


@lru_cache(maxsize=1)
def _environment(folder: Path | None, image_size: int) -> LiberoEnvironment:
    """Return this process's environment: building a task's model costs seconds."""
    return LiberoEnvironment(installed(folder), image_size=image_size)


def check_libero(config: LiberoConfig, tasks: Sequence[str], *, demonstrated: bool) -> tuple[str, ...]:
    """Check, before anything is written, that these tasks can be run.

    Args:
        config: Where LIBERO is, and how demonstrations are made.
        tasks: Names of tasks, "suite/name" or the name alone.
        demonstrated: Whether demonstrations are to be made of them.

    Returns:
        The tasks' names alone, as files and runs have them.

    Raises:
        DependencyError: LIBERO is not installed, or assets are missing.
        UserError: An unknown task, one named twice or without an expert, or a number that makes no sense.
    """
    if config.episodes < 1 or not 0 <= config.noise <= 1:
        raise UserError(
            "--libero.episodes must be 1 or more and --libero.noise in 0..1, "
            f"got {config.episodes} and {config.noise:g}"
        )
    known = TaskList(installed(config.folder))
    found = [known.named(task) for task in tasks]
    for task in found:
        known.check_assets(task)
        if demonstrated and task.name not in EXPERT_TASKS:
            raise unknown_name("LIBERO task with an expert", task.name, EXPERT_TASKS, "--tasks")
    names = tuple(task.name for task in found)
    if len(set(names)) != len(names):
        raise UserError(f"--tasks must name each task once, got {' '.join(tasks)}")
    return names


def collect_libero(
    config: LiberoConfig,
    folder: Path,
    *,
    tasks: Sequence[str],
    image_size: int,
    seed: int = 0,
    workers: int = 2,
    show_progress: bool = True,
) -> DemonstrationIndex:
    """Collect demonstrations into a folder, or complete those that it holds; see `fill_collection`.

    Args:
        config: How many, and how they are made.
        folder: New, empty, or a collection made with the same settings.
        tasks: Tasks with experts.
        image_size: Height and width of the pictures [px].
        seed: Run seed, which selects the block of episode seeds.
        workers: Processes; they change the duration, not the result.
        show_progress: Show bars on the terminal.
    """
    tasks = check_libero(config, tasks, demonstrated=True)
    recipe = LiberoRecipe(config.folder, config.noise, image_size, seed)
    wanted: dict[tuple[str, str | None], int] = {(task, None): config.episodes for task in tasks}
    return fill_collection(recipe, folder, wanted, workers=workers, show_progress=show_progress)
