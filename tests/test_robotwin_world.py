"""RoboTwin as a world to train in: rollouts in it, on any number of workers, give the same episodes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from robotwin_fixtures import SEED, make_installation
from stage_one_fixtures import SMALL

from dygro_ros.errors import DataError, UserError
from models.action_space import ActionSpace
from models.base_policy import BasePolicy
from models.residual import ResidualConfig
from sim2real.robotwin.installation import Installation
from sim2real.robotwin.seed_book import SeedBook, UnsolvableSeed, Verdict
from sim2real.robotwin.world import RobotwinWorld, measured_world
from sim2real.seeds import SEED_BLOCKS, SeedPurpose
from sim2real.world import World
from training.episodes import ARRAY_FIELDS, Episode, EpisodeRequest
from training.rollouts import LocalProcesses, RolloutSpec, to_weights
from training.stage_one import build_residual, save_base_policy

TASKS = ("lift_pot", "beat_block_hammer")
ONLINE_SEED = SEED_BLOCKS[SeedPurpose.ONLINE].first
RESIDUAL = ResidualConfig(experts=2, top_m=1, width=8)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return make_installation(tmp_path_factory.mktemp("robotwin"))


@pytest.fixture(scope="module")
def world(installation: Installation) -> RobotwinWorld:
    return measured_world(installation, TASKS, seed=SEED)


def test_the_joints_limits_are_the_simulated_robots(installation: Installation, world: RobotwinWorld) -> None:
    checked: World = world
    assert checked.layout.size == 14 and checked.layout.grippers == (6, 13)
    assert checked.layout.lower[2] == pytest.approx(-2.967) and checked.layout.upper[13] == 1.0
    aloha = measured_world(installation, TASKS, task_config="demo_aloha", seed=3)
    assert (aloha.layout.lower[2], aloha.layout.upper[2]) == pytest.approx((0.0, 3.14))
    assert aloha.task_config == "demo_aloha"


def test_no_scene_is_evaluated_twice(world: RobotwinWorld) -> None:
    with (
        world.open(image_size=16, cameras=1) as environment,
        pytest.raises(UnsolvableSeed, match=f"seed {SEED + 3}"),
    ):
        environment.reset(TASKS[0], SEED + 3)


def test_rollouts_are_the_same_on_one_worker_and_on_two(world: RobotwinWorld, tmp_path: Path) -> None:
    torch.manual_seed(0)
    space = ActionSpace(np.full(14, 0.2), np.zeros(14), np.ones(14), world.layout)
    base = BasePolicy(replace(SMALL, cameras=3), space)
    save_base_policy(tmp_path, base)
    residual = build_residual(base, RESIDUAL, world)
    requests = [
        EpisodeRequest(task=task, seed=ONLINE_SEED + k, mode="sample") for task in TASKS for k in (0, 3)
    ]
    SeedBook(world.task_config).write(tmp_path / "seeds.json")
    world = replace(world, book=tmp_path / "seeds.json").carrying_its_book()
    (tmp_path / "seeds.json").unlink()  # workers may be where there is no such file
    found: list[list[Episode]] = []
    for workers in (1, 2):
        engine = LocalProcesses(RolloutSpec(tmp_path, RESIDUAL, world), workers)
        try:
            found.append(engine.collect(requests, to_weights(residual)))
        finally:
            engine.close()
    for one, two, request in zip(*found, requests, strict=True):
        assert one.task == TASKS.index(request.task) and one.steps == one.valid.sum() > 0
        assert one.privileged.shape == (len(one.valid), world.privileged_size)
        for name in ARRAY_FIELDS:
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


def test_worlds_that_cannot_be_are_refused(
    installation: Installation, world: RobotwinWorld, tmp_path: Path
) -> None:
    with pytest.raises(
        UserError, match="a world needs tasks, got none: choose among beat_block_hammer, lift_pot"
    ):
        measured_world(installation, ())
    with pytest.raises(UserError, match="unknown RoboTwin task 'lift_pan'"):
        measured_world(installation, ("lift_pot", "lift_pan"))
    for needs in (lambda w: w.open(image_size=16, cameras=1), RobotwinWorld.carrying_its_book):
        with pytest.raises(DataError, match=r"none\.json: cannot be read"):
            needs(replace(world, book=tmp_path / "none.json"))


def test_a_world_carries_its_book_and_says_where_that_was_read(world: RobotwinWorld, tmp_path: Path) -> None:
    assert world.carrying_its_book() == world
    path, book = tmp_path / "seeds.json", SeedBook(world.task_config)
    book.record(TASKS[0], 3, Verdict(solvable=False, reason="seen before", info={}))
    book.write(path)
    carrying = replace(world, book=path).carrying_its_book()
    path.unlink()
    assert carrying.carrying_its_book() == carrying
    with carrying.open(image_size=16, cameras=1) as environment:
        assert environment.judge(TASKS[0], 3).reason == "seen before"
    with pytest.raises(DataError, match=r"read from .*seeds\.json: task_config must be 'demo_aloha'"):
        replace(carrying, task_config="demo_aloha").open(image_size=16, cameras=1)
