"""Where a run's demonstrations come from: its world's experts, the base run, or somebody's recordings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dygro_ros.errors import DataError, RunFolderError, UserError
from training.config import TrainConfig
from training.demonstration_index import read_index
from training.demonstrations import collect
from training.episode_file import read_episode
from training.episode_record import EpisodeRecord
from training.formats.libero import LiberoSource
from training.formats.source import EpisodeReference
from training.libero_demonstrations import check_libero, collect_libero
from training.placement import codec_of_run
from training.recorded_demonstrations import find_episodes, read_recorded
from training.robotwin_config import check_robotwin, require_same_robot
from training.run_folder import DEMONSTRATIONS

Files = Sequence[Path | EpisodeReference]


def check_sources(config: TrainConfig) -> None:
    """Check another world's installation and the demonstrations that are there, before a run begins.

    These are recorded ones, or the base run's: a run's own are made later.

    Raises:
        DependencyError: LIBERO is not installed, a task's assets are missing, or a part of RoboTwin.
        UserError: There is no such folder or task, the rate makes no sense, or an episode takes longer than
            --online.step-limit.
        RunFolderError: The base run holds no demonstrations, and none are recorded.
        DataError: It holds no episode, one that cannot be read, one of a task that is not trained on, or one
            without the simulator state that losses and critics are to see.
    """
    tasks = config.tasks
    if config.world == "libero":
        tasks = check_libero(config.libero, tasks, demonstrated=config.recorded.folder is None)
    if config.world == "robotwin":
        check_robotwin(config.robotwin.known, config.tasks, config.recorded.folder)
    if config.recorded.folder is None:
        if config.base_run is not None:
            check_step_limit(config, _of_base_run(config.base_run, tasks))
        return
    files = find_episodes(config.recorded.folder)
    next(read_demonstrations(config, files))  # a wrong rate, camera or layout is the same in all files
    check_step_limit(config, files)
    if config.world == "robotwin":
        require_same_robot(config.robotwin.known, files)
    trains_vision = config.base_run is None or config.method == "sft"
    readers = {
        "--pretrain.lambda-objects 0": trains_vision and config.pretrain.lambda_objects > 0,
        "--off-policy.learner.offline-fraction 0": critics_see_demonstrations(config),
    }
    remedy = " ".join(option for option, reads in readers.items() if reads)
    for episode in files:
        record = episode.read(cameras=())
        if record.task is not None and record.task not in tasks:
            raise DataError(
                f"{episode} is of the task {record.task!r}, expected one that --tasks names: "
                f"{', '.join(tasks)}; name it there, or keep its episodes out of --recorded.folder"
            )
        # The files that RoboTwin's world reads may be our cell's, whose state means other things.
        lacks_state = record.task is None or record.privileged is None or config.world == "robotwin"
        if remedy and lacks_state:
            raise DataError(
                f"{episode} holds no simulator state of the world {config.world!r}: do without it by {remedy}"
            )


def without_suites(config: TrainConfig) -> TrainConfig:
    """Return the configuration with LIBERO's tasks by their names alone, as recordings and runs have them.

    No name is in two suites; `check_sources` checks a suite that was given.
    """
    if config.world != "libero":
        return config
    return replace(config, tasks=tuple(task.rpartition("/")[2] for task in config.tasks))


def make_demonstrations(config: TrainConfig) -> Files:
    """Return the demonstrations: recorded ones, the base run's, or ours, collecting what is missing."""
    if config.recorded.folder is not None:
        return find_episodes(config.recorded.folder)
    source = config.base_run or config.run
    if config.world == "libero":
        return collect_libero(
            config.libero,
            source / DEMONSTRATIONS,
            tasks=config.tasks,
            image_size=config.network.image_size,
            seed=config.seed,
            workers=config.workers,
        ).all_paths()
    index = collect(
        config.demonstrations,
        source / DEMONSTRATIONS,
        tasks=config.tasks,
        randomization=config.randomization,
        seed=config.seed,
        workers=config.workers,
    )
    return index.all_paths()


def _of_base_run(run: Path, tasks: Sequence[str]) -> Files:
    """Return the demonstrations of these tasks that a base run has."""
    folder = run / DEMONSTRATIONS
    if not folder.is_dir():
        raise RunFolderError(
            f"--base-run {run} holds no folder {DEMONSTRATIONS}: name another base run, or recordings by "
            "--recorded.folder"
        )
    index = read_index(folder)
    return [path for stream in index.streams if stream.task in tasks for path in index.paths(stream)]


def check_step_limit(config: TrainConfig, files: Files) -> None:
    """Check that a training episode may take as long as the demonstrations do.

    Raises:
        UserError: The longest demonstration takes more control steps than --online.step-limit.
        DataError: A demonstration cannot be read.
    """
    limit, rate_hz = config.online.step_limit, config.simulated_world.control_rate_hz
    if limit is None or config.method == "sft":
        return
    for file in files:
        if isinstance(file, Path):
            steps = len(_read_own(config, file, ()).action)
        else:
            record = file.read(())
            steps = round(len(record.action) * rate_hz / (config.recorded.rate_hz or record.rate_hz))
        if steps > limit:
            raise UserError(
                f"--online.step-limit must leave time for what is demonstrated, {file} takes {steps} control "
                f"steps: got {limit}; twice as long is a good choice, and None leaves it to the world"
            )


def critics_see_demonstrations(config: TrainConfig) -> bool:
    """Return whether critics learn from demonstrations, which then must hold the simulator's state."""
    return config.method in ("dygro", "residual") and config.off_policy.learner.offline_fraction > 0


def read_demonstrations(
    config: TrainConfig, files: Iterable[Path | EpisodeReference]
) -> Iterator[EpisodeRecord]:
    """Yield the demonstrations one after the other, as the policy would have seen them."""
    world, codec = config.simulated_world, codec_of_run(config)
    for file in files:
        if isinstance(file, Path):
            yield _read_own(config, file, config.cameras)
        else:
            yield read_recorded(
                file,
                cameras=config.cameras,
                image_size=config.network.image_size,
                rate_hz=config.recorded.rate_hz,
                proprio_names=world.proprio_names,
                action_names=world.action_names,
                control_rate_hz=world.control_rate_hz,
                codec=codec,
            )


def _read_own(config: TrainConfig, file: Path, cameras: Sequence[str]) -> EpisodeRecord:
    if config.world == "libero":
        return LiberoSource(file, [file]).read(0, cameras)
    return read_episode(file, cameras=cameras)
