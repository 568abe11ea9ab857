"""Which episodes an evaluation runs: in RoboTwin the seeds that count, each once, and who was passed over."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from robotwin_fixtures import make_installation

from dygro_ros.errors import DataError
from dygro_ros.layout import JOINT_LOWER, JOINT_UPPER
from sim2real.robotwin.seed_book import SeedBook, Verdict
from sim2real.robotwin.world import RobotwinWorld
from training.config import EvaluationConfig, TrainConfig
from training.evaluation_scenes import evaluation_scenes
from training.robotwin_config import RobotwinConfig

TASKS = ("lift_pot", "beat_block_hammer")


@pytest.fixture
def world(tmp_path: Path) -> RobotwinWorld:
    limits = tuple(JOINT_LOWER.tolist()), tuple(JOINT_UPPER.tolist())
    return RobotwinWorld(make_installation(tmp_path), TASKS, *limits)


def configuration(world: RobotwinWorld, **evaluation: int) -> TrainConfig:
    return TrainConfig(
        world="robotwin",
        tasks=TASKS,
        robotwin=RobotwinConfig(measured=world),
        evaluation=EvaluationConfig(**evaluation),
    )


def test_the_cells_evaluation_takes_its_seeds_in_order(tmp_path: Path) -> None:
    config = replace(TrainConfig(), evaluation=EvaluationConfig(episodes=3, seed=2)).resolved()
    scenes = evaluation_scenes(config, tmp_path / "evaluation")
    assert scenes.seeds == dict.fromkeys(config.tasks, range(300_000, 300_003))
    assert scenes.world == config.simulated_world and scenes.passed_over == {}
    assert not (tmp_path / "evaluation").exists()


def test_no_seed_stands_for_another_in_an_evaluation(world: RobotwinWorld, tmp_path: Path) -> None:
    out = tmp_path / "evaluation"
    scenes = evaluation_scenes(configuration(world, episodes=5), out)
    counted = [100_000, 100_001, 100_002, 100_004, 100_006]
    assert scenes.seeds == dict.fromkeys(TASKS, counted)
    passed_over = scenes.passed_over["seeds_passed_over"]
    assert passed_over == json.loads(json.dumps(passed_over))  # as the ledger will hold it
    assert set(passed_over["lift_pot"]) == {"100003", "100005"}
    assert passed_over["lift_pot"]["100003"].startswith("unstable")
    assert passed_over["beat_block_hammer"]["100005"] == "the expert did not succeed"
    # Workers find every verdict in the book: the expert is tried once.
    assert isinstance(scenes.world, RobotwinWorld) and scenes.world.book == out / "seeds.json"
    assert replace(scenes.world, book=None) == world
    book = SeedBook.read(out / "seeds.json", world.task_config)
    assert [book.solvable(task, range(100_000, 100_007)) for task in TASKS] == [counted, counted]


def test_what_the_worlds_book_knows_is_not_tried_again(world: RobotwinWorld, tmp_path: Path) -> None:
    book, out = SeedBook(world.task_config), tmp_path / "evaluation"
    for task in TASKS:
        book.record(task, 200_000, Verdict(solvable=False, reason="seen before", info={}))
        book.record(task, 200_001, Verdict(solvable=True, reason="", info={}))
    book.write(tmp_path / "known.json")
    before = (tmp_path / "known.json").read_bytes()
    broken = replace(world.installation, python=Path("/bin/false"))
    told = replace(world, installation=broken, book=tmp_path / "known.json")
    scenes = evaluation_scenes(configuration(told, episodes=1, seed=1), out)
    assert scenes.seeds == {task: [200_001] for task in TASKS}
    assert scenes.passed_over["seeds_passed_over"]["lift_pot"] == {"200000": "seen before"}
    # The run's own book comes first when it goes on, whatever became of the other.
    (tmp_path / "known.json").unlink()
    assert evaluation_scenes(configuration(told, episodes=1, seed=1), out) == scenes
    assert before == (out / "seeds.json").read_bytes()
    with pytest.raises(DataError, match=r"known\.json: cannot be read"):
        evaluation_scenes(configuration(told, episodes=1), tmp_path / "another")
