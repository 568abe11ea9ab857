"""A RoboTwin task configuration: looked up where it is right, refused in one sentence where it is not."""

import re
from pathlib import Path

import pytest
from robotwin_fixtures import STAND_IN

from dygro_ros.errors import UserError
from sim2real.robotwin.task_arguments import task_arguments

THERE = STAND_IN / "env_cfg" / "task_config"
WHOLE = (THERE / "demo_clean.yml").read_text("utf-8")


@pytest.fixture
def configurations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(STAND_IN)
    for name in ("_camera_config.yml", "_embodiment_config.yml"):
        (tmp_path / name).write_bytes((THERE / name).read_bytes())
    return tmp_path


def test_robots_and_camera_are_looked_up(configurations: Path) -> None:
    (configurations / "demo.yml").write_text(WHOLE, encoding="utf-8")
    found = task_arguments(configurations, "demo", wrist_cameras=False)
    assert (found["embodiment_dis"], found["dual_arm_embodied"]) == (0.6, False)
    assert found["left_robot_file"] == found["right_robot_file"] == "./assets/embodiments/piper"
    assert found["right_embodiment_config"]["dual_arm"] is False
    assert (found["head_camera_h"], found["head_camera_w"]) == (240, 320)
    assert not found["camera"]["collect_wrist_camera"]


@pytest.mark.parametrize(
    ("entry", "replacement", "words"),
    [
        ("embodiment", "", "demo.yml has no entry embodiment: write one as"),
        ("camera", "", "demo.yml has no entry camera: "),
        ("language_num", "", "demo.yml has no entry language_num: "),
        ("embodiment", "embodiment: [piper, piper", "demo.yml is not YAML in line 5 (expected ',' or ']'"),
        ("embodiment", "embodiment: \x01", "demo.yml is not YAML (special characters are not allowed)"),
        ("embodiment", "embodiment: [piper, piper]", "as [piper, piper, 0.6], got ['piper', 'piper']"),
        ("embodiment", "embodiment:", "as [piper, piper, 0.6], got None"),
        ("embodiment", "embodiment: [pepper]", "embodiment 'pepper' is not among RoboTwin's robots: aloha"),
        ("embodiment", "embodiment: [[piper]]", "\"['piper']\" is not among RoboTwin's robots"),
        ("clear_cache_freq", "clear_cache_freq: 0", "clear_cache_freq must be a whole number, 1 or more"),
        ("camera", "camera: {}", "camera.head_camera_type must be one of D435, got {}"),
        ("camera", "camera: D435", "camera.head_camera_type must be one of D435, got D435"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(
    configurations: Path, entry: str, replacement: str, words: str
) -> None:
    changed = re.sub(rf"^{entry}:.*$", replacement, WHOLE, flags=re.MULTILINE)
    (configurations / "demo.yml").write_text(changed, encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        task_arguments(configurations, "demo", wrist_cameras=False)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_configuration_are_named(configurations: Path) -> None:
    (configurations / "demo.yml").write_bytes(b"embodiment: \xff")
    with pytest.raises(UserError, match=r"demo\.yml is not YAML \("):
        task_arguments(configurations, "demo", wrist_cameras=False)
    (configurations / "demo.yml").write_text("- piper\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"demo\.yml must map names to values, found \['piper'\]"):
        task_arguments(configurations, "demo", wrist_cameras=False)
    (configurations / "demo.yml").write_text(WHOLE, encoding="utf-8")
    (configurations / "_camera_config.yml").unlink()
    with pytest.raises(UserError, match=r"_camera_config\.yml cannot be read \(No such file"):
        task_arguments(configurations, "demo", wrist_cameras=False)
