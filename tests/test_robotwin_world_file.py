"""The file that says what a RoboTwin world is: read as it was written, refused by its field."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dygro_ros.errors import DataError
from dygro_ros.layout import JOINT_LOWER, JOINT_UPPER
from sim2real.robotwin.installation import Installation
from sim2real.robotwin.world import RobotwinWorld
from sim2real.robotwin.world_file import read_world, write_world

WORLD = RobotwinWorld(
    Installation(Path("/opt/RoboTwin"), Path("/opt/env/bin/python")),
    ("lift_pot", "beat_block_hammer"),
    tuple(JOINT_LOWER.tolist()),
    tuple(JOINT_UPPER.tolist()),
    task_config="demo_piper",
    proprio="measured",
    instruction_split="unseen",
    book=Path("/opt/seeds.json"),
)


def test_a_world_is_read_as_it_was_written(tmp_path: Path) -> None:
    for world in (WORLD, replace(WORLD, book=None, tasks=("lift_pot",))):
        write_world(world, tmp_path / "robotwin.json")
        assert read_world(tmp_path / "robotwin.json") == world
    assert [path.name for path in tmp_path.iterdir()] == ["robotwin.json"]


def test_paths_become_absolute_and_the_interpreters_link_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "python").symlink_to("/usr/bin/env")
    near = replace(WORLD, installation=Installation(Path("RoboTwin"), Path("python")), book=Path("b.json"))
    write_world(near, Path("robotwin.json"))
    found = read_world(Path("robotwin.json"))
    assert found.installation == Installation(tmp_path / "RoboTwin", tmp_path / "python")
    assert found.book == tmp_path / "b.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, r"version: Input should be 1 \(got '2'\)"),
        ({"tasks": []}, "tasks: "),
        ({"tasks": ["lift_pot", "lift_pot"]}, "tasks: .*must name each task once"),
        ({"lower": [0.0] * 13}, "lower: "),
        ({"upper": [*WORLD.upper[:13], "1"]}, r"upper\[13\]"),
        ({"lower": WORLD.upper}, "lower must be below upper, got 2.618 and 2.618 for left_joint1"),
        ({"proprio": "encoders"}, "proprio: Input should be 'targets' or 'measured'"),
        ({"instruction_split": "heard"}, "instruction_split"),
        ({"python": "env/bin/python"}, "python: .*must be an absolute path"),
        ({"book": "seeds.json"}, "book: .*must be an absolute path"),
        ({"camera": "D435"}, "camera: Extra inputs"),
    ],
)
def test_a_damaged_file_is_refused_by_its_field(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "robotwin.json"
    write_world(WORLD, path)
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **change}), encoding="utf-8")
    with pytest.raises(
        DataError,
        match=rf"robotwin\.json: .*{message}.*remove it, then .*robotwin\.measure_world makes it anew",
    ):
        read_world(path)


def test_a_missing_or_cut_file_is_named_with_the_command(tmp_path: Path) -> None:
    path = tmp_path / "robotwin.json"
    with pytest.raises(DataError, match=r"robotwin\.json: cannot be read .*measure_world makes it"):
        read_world(path)
    write_world(WORLD, path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"robotwin\.json: the whole file"):
        read_world(path)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match=r"version: Field required"):
        read_world(path)
