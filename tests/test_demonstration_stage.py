"""What is checked of recorded demonstrations before a run begins: their tasks, and simulator state."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dataset_fixtures import dual_arm, libero_like

from dygro_ros.errors import DataError, RunFolderError, UserError
from sim2real.libero.environment import LiberoEnvironment
from training.config import OffPolicyConfig, TrainConfig, preset
from training.demonstration_index import DemonstrationIndex, Stream
from training.demonstration_stage import check_sources, check_step_limit, without_suites
from training.episode_file import write_episode
from training.episode_record import EpisodeRecord
from training.formats.libero_writer import LiberoFolderWriter
from training.formats.robotwin import RobotwinFolderWriter
from training.online import OnlineConfig
from training.recorded_demonstrations import RecordedConfig, find_episodes

CUP, HAMMER = "place_empty_cup", "beat_block_hammer"
STOVE, MICROWAVE = "KITCHEN_SCENE3_turn_on_the_stove", "KITCHEN_SCENE6_close_the_microwave"


def blind(config: TrainConfig) -> TrainConfig:
    """Nothing that needs the simulator's state of a demonstration."""
    learner = replace(OffPolicyConfig().learner, offline_fraction=0.0)
    return replace(
        config,
        pretrain=replace(config.pretrain, lambda_objects=0.0),
        off_policy=replace(config.off_policy, learner=learner),
    )


def in_the_cell(folder: Path, tasks: tuple[str, ...], *records: EpisodeRecord) -> TrainConfig:
    with RobotwinFolderWriter(folder) as writer:
        for record in records:
            writer.add(record)
    return replace(TrainConfig(), tasks=tasks, recorded=RecordedConfig(folder))


def test_an_episode_of_a_task_that_is_not_trained_on_is_refused_by_name(tmp_path: Path) -> None:
    config = in_the_cell(tmp_path / "a", (CUP,), dual_arm(0, 4), replace(dual_arm(1, 4), task=HAMMER))
    message = r"episode_0000001\.hdf5 is of the task 'beat_block_hammer', expected .*names: place_empty_cup;"
    for tried in (config, blind(config)):
        with pytest.raises(DataError, match=message):
            check_sources(tried)
    check_sources(replace(config, tasks=(CUP, HAMMER)))


def test_an_episode_without_a_task_serves_where_no_simulator_state_is_needed(tmp_path: Path) -> None:
    nameless = replace(dual_arm(0, 4), task=None, privileged=None)
    config = in_the_cell(tmp_path / "a", (CUP,), nameless)
    check_sources(blind(config))
    with pytest.raises(
        DataError, match=r"holds no simulator state of the world 'cell': do without it by --pretrain\.lambda"
    ):
        check_sources(config)


def test_an_episode_may_take_as_long_as_what_is_demonstrated(tmp_path: Path) -> None:
    config = in_the_cell(tmp_path / "a", (CUP,), dual_arm(0, 4), dual_arm(1, 6))

    def check(limit: int | None, rate_hz: float | None = None, *, own: bool = False) -> None:
        files = sorted((tmp_path / "a").rglob("*.hdf5")) if own else find_episodes(tmp_path / "a")
        recorded = replace(config.recorded, rate_hz=rate_hz)
        check_step_limit(replace(config, recorded=recorded, online=OnlineConfig(step_limit=limit)), files)

    for own in (False, True):
        check(None, own=own)
        check(6, own=own)
        with pytest.raises(UserError, match=r"step-limit .*0001\.hdf5 takes 6 control steps: got 5"):
            check(5, own=own)
    check(3, rate_hz=50.0)  # recorded at twice the control rate: half as many steps
    with pytest.raises(UserError, match="takes 12 control steps: got 11"):
        check(11, rate_hz=12.5)
    with pytest.raises(UserError, match=r"0001\.hdf5 takes 6 control steps: got 5"):  # before a run begins
        check_sources(replace(config, online=OnlineConfig(step_limit=5)))
    fine_tuning = replace(config, method="sft", online=OnlineConfig(step_limit=1))
    check_step_limit(fine_tuning, find_episodes(tmp_path / "a"))


def test_a_base_runs_demonstrations_are_checked_before_a_run_begins(tmp_path: Path) -> None:
    index = DemonstrationIndex(tmp_path / "demonstrations", {}, [Stream(CUP, None, [3], [6])])
    config = replace(TrainConfig(), base_run=tmp_path, tasks=(CUP,), online=OnlineConfig(step_limit=5))
    with pytest.raises(RunFolderError, match="holds no folder demonstrations: name another base run, or"):
        check_sources(config)
    path = index.all_paths()[0]
    path.parent.mkdir(parents=True)
    write_episode(path, dual_arm(0, 6))
    index.save()
    with pytest.raises(UserError, match=r"episode0\.hdf5 takes 6 control steps: got 5"):
        check_sources(config)
    check_sources(replace(config, tasks=(HAMMER,)))  # its demonstrations are still to be made
    check_sources(replace(config, online=OnlineConfig(step_limit=6)))


def test_liberos_tasks_are_compared_without_their_suite(libero: LiberoEnvironment, tmp_path: Path) -> None:
    record = replace(libero_like(), privileged=np.zeros((6, 44), np.float32), task=STOVE)
    with LiberoFolderWriter(tmp_path / "a") as writer:
        writer.add(record)
    config = replace(preset("libero"), recorded=RecordedConfig(tmp_path / "a"))
    for name in (STOVE, f"libero_90/{STOVE}"):
        check_sources(replace(config, tasks=(name,)))
    with pytest.raises(DataError, match=rf"data/demo_0 is of the task '{STOVE}', .*names: {MICROWAVE};"):
        check_sources(replace(config, tasks=(f"libero_90/{MICROWAVE}",)))


def test_a_run_has_liberos_tasks_by_their_names_alone() -> None:
    config = replace(preset("libero"), tasks=(f"libero_90/{STOVE}", MICROWAVE))
    assert without_suites(config).tasks == (STOVE, MICROWAVE)
    assert without_suites(TrainConfig()) == TrainConfig()
