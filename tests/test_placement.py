"""What is sent to rollout workers, which may be on machines without the files of the run's."""

from pathlib import Path

import pytest
from robotwin_fixtures import make_installation

from dygro_ros.errors import DataError
from dygro_ros.layout import JOINT_LOWER, JOINT_UPPER
from sim2real.robotwin.seed_book import SeedBook, Verdict
from sim2real.robotwin.world import RobotwinWorld
from training.config import TrainConfig
from training.placement import rollout_spec
from training.robotwin_config import RobotwinConfig

TASKS = ("lift_pot",)


def test_the_book_of_seeds_goes_with_the_world(tmp_path: Path) -> None:
    limits = tuple(JOINT_LOWER.tolist()), tuple(JOINT_UPPER.tolist())
    asked, told = tmp_path / "asked.json", tmp_path / "told.json"
    world = RobotwinWorld(make_installation(tmp_path), TASKS, *limits, book=asked)
    evaluated = RobotwinWorld(make_installation(tmp_path / "other"), TASKS, *limits, book=told)
    config = TrainConfig(world="robotwin", tasks=TASKS, robotwin=RobotwinConfig(measured=world))
    for path, reason in ((asked, "of Stage II"), (told, "of the evaluation")):
        book = SeedBook(world.task_config)
        book.record("lift_pot", 7, Verdict(solvable=False, reason=reason, info={}))
        book.write(path)
    specs = rollout_spec(config, tmp_path), rollout_spec(config, tmp_path, evaluated)
    asked.unlink()
    told.unlink()
    for spec, reason in zip(specs, ("of Stage II", "of the evaluation"), strict=True):
        with spec.world.open(image_size=16, cameras=1) as environment:
            assert environment.judge("lift_pot", 7).reason == reason
    with pytest.raises(DataError, match=r"asked\.json: cannot be read"):
        rollout_spec(config, tmp_path)


def test_other_worlds_travel_as_they_are(tmp_path: Path) -> None:
    config = TrainConfig().resolved()
    assert rollout_spec(config, tmp_path).world == config.simulated_world
