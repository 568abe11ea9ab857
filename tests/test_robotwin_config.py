"""RoboTwin as the world of a run: from a file, with its tasks, and refused before anything is made."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from robotwin_fixtures import make_installation

from dygro_ros.errors import DataError, DependencyError, UserError
from dygro_ros.layout import JOINT_LOWER, JOINT_UPPER
from models.base_policy import NanoConfig
from sim2real.robotwin.world import RobotwinWorld
from sim2real.robotwin.world_file import write_world
from training.config import TrainConfig
from training.demonstration_stage import check_sources
from training.episode_file import write_episode
from training.episode_record import EpisodeRecord
from training.pretrainer import PretrainConfig
from training.recorded_demonstrations import RecordedConfig, find_episodes
from training.robotwin_config import RobotwinConfig, check_robotwin, require_same_robot
from training.run_folder import fingerprint

TASKS = ("lift_pot", "beat_block_hammer")


@pytest.fixture
def world(tmp_path: Path) -> RobotwinWorld:
    limits = tuple(JOINT_LOWER.tolist()), tuple(JOINT_UPPER.tolist())
    return RobotwinWorld(make_installation(tmp_path), TASKS, *limits)


def config_of(world: RobotwinWorld, folder: Path) -> TrainConfig:
    path = folder / "robotwin.json"
    write_world(world, path)
    return TrainConfig(world="robotwin", robotwin=RobotwinConfig(world=path))


def test_without_a_word_a_run_trains_on_the_files_tasks(world: RobotwinWorld, tmp_path: Path) -> None:
    config = config_of(world, tmp_path)
    assert config.resolved().tasks == TASKS
    assert config.resolved().simulated_world == world
    some = replace(config, tasks=("beat_block_hammer",)).resolved()
    assert some.tasks == ("beat_block_hammer",) and some.simulated_world.tasks == TASKS
    assert config.resolved().resolved() == config.resolved()


def test_the_run_keeps_what_the_file_said(world: RobotwinWorld, tmp_path: Path) -> None:
    config = config_of(world, tmp_path)
    before = fingerprint(config.resolved())
    resolved = config.resolved()
    write_world(replace(world, task_config="demo_aloha"), tmp_path / "robotwin.json")
    assert resolved.simulated_world == world
    after = fingerprint(config.resolved())
    assert (before["robotwin"]["measured"]["task_config"], after["robotwin"]["measured"]["task_config"]) == (
        "demo_clean", "demo_aloha",
    )  # fmt: skip


def test_what_does_not_fit_the_file_is_named(world: RobotwinWorld, tmp_path: Path) -> None:
    config = config_of(world, tmp_path)
    for wrong, words in (
        (
            replace(config, tasks=("lift_pan",)),
            r"unknown task 'lift_pan' in --tasks \(did you mean 'lift_pot'",
        ),
        (
            replace(config, robotwin=RobotwinConfig()),
            "needs --robotwin.world, a file that python -m sim2real.r",
        ),
        (replace(config, world="cell"), "--robotwin.world is for --world robotwin, got --world cell"),
        (replace(config, network=NanoConfig(cameras=2)), r"must be 1 \(head_camera\) or 3"),
    ):
        with pytest.raises(UserError, match=words):
            wrong.resolved()
    with pytest.raises(ValueError, match="resolve it first"):
        _ = config.simulated_world


def test_a_run_needs_demonstrations_and_robotwin(world: RobotwinWorld, tmp_path: Path) -> None:
    check_robotwin(world, TASKS, tmp_path)
    with pytest.raises(UserError, match=r"--recorded\.folder must name a dataset"):
        check_robotwin(world, TASKS, None)
    with pytest.raises(UserError, match="unknown RoboTwin task 'hang_mug'"):
        check_robotwin(world, ("hang_mug",), tmp_path)
    with pytest.raises(DataError, match=r"none\.json: cannot be read"):
        check_robotwin(replace(world, book=tmp_path / "none.json"), TASKS, tmp_path)
    moved = replace(world, installation=replace(world.installation, checkout=tmp_path))
    with pytest.raises(DependencyError, match="is no checkout of RoboTwin"):
        check_robotwin(moved, TASKS, tmp_path)


def recorded(folder: Path, **elbow: float) -> Path:
    """An episode of our cell, whose right third joint is somewhere in the second frame."""
    values = {"proprio": np.zeros((3, 14), np.float32), "action": np.zeros((3, 14), np.float32)}
    for field, value in elbow.items():
        values[field][1, 9] = value
    images, state = np.zeros((3, 1, 8, 8, 3), np.uint8), np.zeros((3, 43), np.float32)
    record = EpisodeRecord(("lift",), 25, cameras=("head_camera",), images=images, **values)
    folder.mkdir()
    write_episode(folder / "episode_0000000.hdf5", replace(record, privileged=state, task="lift_pot", seed=0))
    return folder


def test_a_run_looks_at_its_demonstrations_before_it_begins(world: RobotwinWorld, tmp_path: Path) -> None:
    def check(folder: Path | None, **change: object) -> None:
        config = replace(
            config_of(world, tmp_path),
            recorded=RecordedConfig(folder, rate_hz=world.control_rate_hz if folder else None),
            **change,
        )  # type: ignore[arg-type]
        check_sources(config.resolved())

    with pytest.raises(UserError, match=r"--recorded\.folder must name a dataset"):
        check(None)
    with pytest.raises(DataError, match="action of right_joint3 must lie in"):
        check(recorded(tmp_path / "aloha", action=1.2))
    # A state of our cell's simulator is none of RoboTwin's.
    cells = recorded(tmp_path / "cell")
    with pytest.raises(DataError, match="holds no simulator state of the world 'robotwin': do without it by"):
        check(cells)
    check(cells, method="ppo", pretrain=PretrainConfig(lambda_objects=0))


def test_demonstrations_of_another_robot_are_told_by_their_joints(
    world: RobotwinWorld, tmp_path: Path
) -> None:
    recorded(tmp_path / "piper", action=0.05, proprio=-2.96)
    recorded(tmp_path / "aloha", action=1.2)
    require_same_robot(world, find_episodes(tmp_path / "piper"))
    with pytest.raises(
        DataError,
        match=r"aloha/episode_0000000\.hdf5: action of right_joint3 must lie in -2\.967 \.\. 0\.000 rad as "
        r"the robot of demo_clean can, found 1\.200 in frame 1: ",
    ):
        require_same_robot(world, find_episodes(tmp_path / "aloha"))
    recorded(tmp_path / "state", proprio=-3.1)
    with pytest.raises(DataError, match=r"state of right_joint3 .* found -3\.100 in frame 1"):
        require_same_robot(world, find_episodes(tmp_path / "state"))
