"""The command that shows a dataset: what it prints, what it calls wrong, and what it writes."""

import json
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import h5py
import numpy as np
import pytest
from dataset_fixtures import dual_arm, libero_like
from PIL import Image
from rich.console import Console

from dygro_ros.errors import DataError, UserError
from training.dataset_info import DatasetInfo, show
from training.episode_record import EpisodeRecord
from training.formats.lerobot_writer import LeRobotWriter
from training.formats.libero_writer import LiberoFileWriter
from training.formats.robotwin import RobotwinFolderWriter


def printed(options: DatasetInfo) -> tuple[int, str]:
    out = StringIO()
    code = show(options, Console(file=out, width=120))
    return code, out.getvalue()


def robotwin(folder: Path, records: list[EpisodeRecord]) -> Path:
    with RobotwinFolderWriter(folder) as writer:
        for record in records:
            writer.add(record)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return robotwin(tmp_path / "cell", [dual_arm(seed, 30 + seed) for seed in range(3)])


def test_it_shows_shapes_rates_ranges_and_instructions(folder: Path) -> None:
    code, text = printed(DatasetInfo(folder))
    assert code == 0
    for line in (
        "format       robotwin",
        "episodes     3, 30 to 32 frames",
        "frames       93, 3.7 s",
        "rate         25 Hz",
        "proprio      (14,) float32",
        f"camera       head_camera {dual_arm(0, 30).images.shape[2:]} uint8",
        "instruction  3 x put the cup on the coaster",
        "not stored yet, --store-statistics keeps them",
        "nothing looks wrong",
    ):
        assert line in text, text
    values = np.concatenate([dual_arm(seed, 30 + seed).action[:, 13] for seed in range(3)])
    row = next(line for line in reversed(text.splitlines()) if "right_gripper" in line)
    shown = [float(cell) for cell in row.replace("│", " ").split()[-6:]]
    expected = [
        values.min(), np.quantile(values, 0.01), values.mean(), values.std(), np.quantile(values, 0.99),
        values.max(),
    ]  # fmt: skip
    np.testing.assert_allclose(shown, expected, atol=6e-4)


def test_a_long_path_is_shown_whole(tmp_path: Path) -> None:
    folder = tmp_path / "recorded_in_the_laboratory" / "with_both_arms_and_three_cameras"
    folder.parent.mkdir()
    _, text = printed(DatasetInfo(robotwin(folder, [dual_arm(0, 30)])))
    assert str(folder) in "".join(line.strip() for line in text.splitlines())


def test_every_format_is_shown(tmp_path: Path) -> None:
    with LiberoFileWriter(tmp_path / "stove_demo.hdf5") as file:
        file.add(libero_like(0, 30))
    with LeRobotWriter(tmp_path / "set") as writer:
        writer.add(dual_arm())
    assert "format       libero" in printed(DatasetInfo(tmp_path / "stove_demo.hdf5"))[1]
    assert "camera       eye_in_hand" in printed(DatasetInfo(tmp_path / "stove_demo.hdf5"))[1]
    text = printed(DatasetInfo(tmp_path / "set"))[1]
    assert "format       lerobot" in text and "and these data's" in text


def test_the_film_has_a_row_for_each_camera_of_each_episode(tmp_path: Path) -> None:
    with LiberoFileWriter(tmp_path / "stove_demo.hdf5") as file:
        for seed in range(3):
            file.add(libero_like(seed, 30))
    film = tmp_path / "film.png"
    printed(DatasetInfo(tmp_path / "stove_demo.hdf5", film=film, pictures=2))
    picture = Image.open(film)
    assert picture.size == (14 + 240 + 8 * 130 - 2 + 14, 14 + 4 * 138 - 10 + 14)
    # Upright, and in its own colours: orange above teal.
    column = 14 + 240 + 64
    assert picture.getpixel((column, 14 + 4)) == pytest.approx((220, 130, 40), abs=3)
    assert picture.getpixel((column, 14 + 100)) == pytest.approx((20, 120, 140), abs=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.png", "stove_demo.hdf5"]


def test_what_looks_wrong_is_listed_with_a_question_mark(tmp_path: Path) -> None:
    records = [
        replace(record, images=record.images[..., ::-1].copy()) for record in (dual_arm(0), dual_arm(1))
    ]
    action = records[0].action.copy()
    action[20:, 3] += 3.0 * np.sign(-action[20, 3])
    records[0] = replace(records[0], action=action)
    folder = robotwin(tmp_path / "wrong", records)
    right = robotwin(tmp_path / "right", [dual_arm(2)])
    code, text = printed(DatasetInfo(folder, like=right))
    assert code == 0
    assert "jump?: action left_joint4 steps by more than 25% of its range 1 times" in text
    assert "colour order?: head_camera: with red and blue exchanged it is like the reference" in text


def test_an_episode_that_cannot_be_read_is_named_and_the_others_are_shown(folder: Path) -> None:
    broken = folder / "episode_0000001.hdf5"
    with h5py.File(broken, "a") as file:
        file["action/left_arm_joint_states"][3, 2] = np.nan
    with h5py.File(folder / "episode_0000002.hdf5", "a") as file:
        del file["vision/cam_head/colors"]
    code, text = printed(DatasetInfo(folder))
    assert code == 1
    assert "episodes     2, 30 to 32 frames" in text
    assert f"unreadable: {broken}: action/left_arm_joint_states holds values that are not finite" in text
    assert "episode_0000002.hdf5: vision/cam_head/colors is missing" in text
    for path in folder.glob("*.hdf5"):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="truncated"):
        printed(DatasetInfo(folder))


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_truncated_file_hides_none_of_the_others(folder: Path, broken: int) -> None:
    path = folder / f"episode_000000{broken}.hdf5"
    path.write_bytes(path.read_bytes()[:1000])
    code, text = printed(DatasetInfo(folder))
    assert code == 1
    assert "episodes     2, 3" in text and "camera       head_camera" in text
    assert f"unreadable: {path}: not a whole HDF5 file" in text and "what looks wrong (1):" in text


@pytest.mark.parametrize("broken", ["a_demo.hdf5", "b_demo.hdf5"])
def test_a_truncated_file_of_libero_hides_none_of_the_others(tmp_path: Path, broken: str) -> None:
    for name in ("a_demo.hdf5", "b_demo.hdf5"):
        with LiberoFileWriter(tmp_path / name) as file:
            file.add(libero_like(0, 30))
            file.add(libero_like(1, 30))
    (tmp_path / broken).write_bytes((tmp_path / broken).read_bytes()[:1000])
    code, text = printed(DatasetInfo(tmp_path))
    assert code == 1
    assert "episodes     2, 30 to 30 frames" in text and "camera       eye_in_hand" in text
    assert f"unreadable: {tmp_path / broken}: not a whole HDF5 file" in text


def test_mixed_rates_are_a_finding(tmp_path: Path) -> None:
    folder = robotwin(tmp_path / "mixed", [dual_arm(0), dual_arm(1), replace(dual_arm(2), rate_hz=20.0)])
    assert "rates?: episodes differ in their rate: 25 Hz in 2, 20 Hz in 1" in printed(DatasetInfo(folder))[1]


def test_statistics_are_stored_when_asked_and_called_stale_when_they_are(folder: Path) -> None:
    assert f"stored in {folder / 'statistics.json'}" in printed(DatasetInfo(folder, store_statistics=True))[1]
    assert json.loads((folder / "statistics.json").read_text())["frames"] == 93
    assert "and these data's" in printed(DatasetInfo(folder))[1]
    (folder / "episode_0000002.hdf5").unlink()
    assert "statistics are stale" in printed(DatasetInfo(folder))[1]


def test_options_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    blind = replace(dual_arm(), cameras=(), images=np.zeros((60, 0, 0, 0, 3), np.uint8))
    folder = robotwin(tmp_path / "blind", [blind])
    with pytest.raises(UserError, match="--pictures must be at least 1, got 0"):
        printed(DatasetInfo(folder, pictures=0))
    with pytest.raises(UserError, match=r"--film .*film\.png needs pictures, and .*blind holds none"):
        printed(DatasetInfo(folder, film=tmp_path / "film.png"))


def test_the_command_says_what_is_missing_and_ends_with_two(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.dataset_info", str(tmp_path / "none")]
    answer = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False
    )
    assert answer.returncode == 2
    assert "no such file or folder; expected RoboTwin's HDF5 v1.0" in answer.stderr
