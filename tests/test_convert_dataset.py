"""Conversion between formats: what a format can hold arrives, what it cannot is named, refusals say why."""

import math
import shutil
from dataclasses import replace
from io import StringIO
from pathlib import Path

import h5py
import numpy as np
import pytest
from dataset_fixtures import dual_arm, libero_like
from rich.console import Console

from dygro_ros.errors import DataError, UserError
from dygro_ros.layout import JOINT_NAMES
from training.convert_dataset import HELD, ConvertDataset, convert
from training.dataset_statistics import load
from training.episode_record import EpisodeRecord
from training.formats.detection import open_dataset
from training.formats.lerobot_writer import LeRobotWriter
from training.formats.libero_writer import LiberoFileWriter
from training.formats.robotwin import RobotwinFolderWriter

REVERSED = JOINT_NAMES[::-1]


def run(options: ConvertDataset) -> str:
    out = StringIO()
    convert(options, Console(file=out, width=200))
    return out.getvalue()


def write(kind: type, target: Path, *records: EpisodeRecord) -> Path:
    with kind(target) as writer:
        for record in records:
            writer.add(record)
    return target


def records_of(folder: Path) -> list[EpisodeRecord]:
    return list(open_dataset(folder).episodes())


def test_ours_to_lerobot_and_back_is_the_same(tmp_path: Path) -> None:
    source = write(RobotwinFolderWriter, tmp_path / "cell", dual_arm(0, 12), dual_arm(1, 13))
    text = run(ConvertDataset(source, tmp_path / "set", "lerobot"))
    assert "2 episodes: " in text and "left out" not in text
    run(ConvertDataset(tmp_path / "set", tmp_path / "back", "robotwin"))
    for first, second in zip(records_of(source), records_of(tmp_path / "back"), strict=True):
        for name in EpisodeRecord.__dataclass_fields__:
            if name == "images":  # JPEG again, of what had been one
                assert np.abs(first.images.astype(int) - second.images).mean() < 2
            else:
                assert np.array_equal(getattr(first, name), getattr(second, name)), name


def test_statistics_come_with_the_result(tmp_path: Path) -> None:
    source = write(RobotwinFolderWriter, tmp_path / "cell", dual_arm(0, 12))
    run(ConvertDataset(source, tmp_path / "set", "lerobot", pictures="video", robot_type="two_pipers"))
    run(ConvertDataset(tmp_path / "set", tmp_path / "back", "robotwin"))
    found = [load(open_dataset(tmp_path / name)) for name in ("set", "back")]
    assert found[0].fingerprint == found[1].fingerprint and found[0].frames == 12
    assert '"robot_type": "two_pipers"' in (tmp_path / "set/meta/info.json").read_text()
    assert (tmp_path / "set/videos").is_dir()


def test_liberos_files_to_lerobot_and_back(tmp_path: Path) -> None:
    """Simulator state has a size of its own in each task: it cannot be a column."""
    stove, moka = libero_like(0), replace(libero_like(1), task="moka", instructions=("moka",))
    moka = replace(moka, simulator_states=np.zeros((6, 20)))
    (tmp_path / "libero").mkdir()
    write(LiberoFileWriter, tmp_path / "libero" / "moka_demo.hdf5", moka)
    write(LiberoFileWriter, tmp_path / "libero" / "stove_demo.hdf5", replace(stove, task="stove"))
    text = run(ConvertDataset(tmp_path / "libero", tmp_path / "set", "lerobot"))
    assert "left out: simulator_states (its size changes between episodes)" in text
    run(ConvertDataset(tmp_path / "set", tmp_path / "back", "libero"))
    assert sorted(p.name for p in (tmp_path / "back").iterdir()) == [
        "moka_demo.hdf5", "statistics.json", "stove_demo.hdf5",
    ]  # fmt: skip
    found = records_of(tmp_path / "back")[1]
    for name in ("proprio", "action", "images", "joint_states"):
        np.testing.assert_array_equal(getattr(found, name), getattr(stove, name))
    assert found.simulator_states is None and found.instructions == stove.instructions


FULL = replace(
    libero_like(),
    executed=np.full((6, 7), 0.5, np.float32),
    privileged=np.arange(18, dtype=np.float32).reshape(6, 3),
    seed=1_000_000_003,
    companion="moka",
    randomization="{}",
)
"""A demonstration that has whatever any format holds."""


def test_a_demonstration_of_ours_for_libero_keeps_what_stage_two_needs(tmp_path: Path) -> None:
    source = write(LiberoFileWriter, tmp_path / "a.hdf5", FULL)
    assert "left out" not in run(ConvertDataset(source, tmp_path / "b.hdf5", "libero"))
    (found,), (first,) = records_of(tmp_path / "b.hdf5"), records_of(source)
    for name in EpisodeRecord.__dataclass_fields__:
        assert np.array_equal(getattr(found, name), getattr(first, name)), name
    np.testing.assert_array_equal(found.privileged, FULL.privileged)
    assert found.seed == FULL.seed


@pytest.mark.parametrize("kind", [LeRobotWriter, LiberoFileWriter, RobotwinFolderWriter])
def test_what_a_format_is_said_to_hold_is_what_its_writer_keeps(tmp_path: Path, kind: type) -> None:
    """Or a conversion would take away what could have stayed, or name nothing where something is lost."""
    record = FULL
    if kind is RobotwinFolderWriter:
        record = replace(
            dual_arm(0, 6), joint_states=FULL.joint_states, simulator_states=FULL.simulator_states
        )
    source = open_dataset(write(kind, tmp_path / "set.hdf5", record))
    (found,) = source.episodes()
    optional = {name for name in set().union(*HELD.values()) if getattr(record, name) is not None}
    assert optional == set().union(*HELD.values())
    assert {name for name in optional if getattr(found, name) is not None} == HELD[source.format]


def test_one_file_of_libero_is_written_where_the_target_is_a_file(tmp_path: Path) -> None:
    source = write(
        LeRobotWriter, tmp_path / "set", replace(libero_like(), instructions=("stove", "the stove"))
    )
    text = run(ConvertDataset(source, tmp_path / "out.hdf5", "libero"))
    assert "left out: further instructions (the format libero holds one a task)" in text
    with h5py.File(tmp_path / "out.hdf5") as file:
        assert list(file["data"]) == ["demo_0"]
    assert open_dataset(tmp_path / "out.hdf5").read(0).instructions == ("stove",)


def test_columns_are_brought_into_our_order_by_their_names(tmp_path: Path) -> None:
    record = dual_arm(0, 12)
    turned = replace(
        record,
        proprio=record.proprio[:, ::-1],
        proprio_names=REVERSED,
        action=record.action[:, ::-1],
        action_names=REVERSED,
        executed=None,
    )
    source = write(LeRobotWriter, tmp_path / "set", turned)
    run(ConvertDataset(source, tmp_path / "cell", "robotwin"))
    found = records_of(tmp_path / "cell")[0]
    np.testing.assert_array_equal(found.proprio, record.proprio)
    np.testing.assert_array_equal(found.action, record.action)


def test_names_and_cameras_can_be_given(tmp_path: Path) -> None:
    record = replace(
        dual_arm(0, 12),
        proprio_names=tuple(f"state_{i}" for i in range(14)),
        action_names=tuple(f"action_{i}" for i in range(14)),
        cameras=("top",),
    )
    source = write(LeRobotWriter, tmp_path / "set", record)
    target, camera = tmp_path / "cell", ("head_camera=top",)
    with pytest.raises(
        DataError, match=r"another robot's: expected left_joint1, .*--proprio-names and --act"
    ):
        run(ConvertDataset(source, target, "robotwin", camera))
    with pytest.raises(DataError, match=r"--action-names must be 14 names, for action_0, .*, got 1"):
        run(ConvertDataset(source, target, "robotwin", camera, action_names=("x",)))
    names = {"proprio_names": JOINT_NAMES, "action_names": JOINT_NAMES}
    with pytest.raises(DataError, match=r"found top: .* such as head_camera=top"):
        run(ConvertDataset(source, target, "robotwin", **names))
    with pytest.raises(UserError, match="unknown camera 'left'"):
        run(ConvertDataset(source, target, "robotwin", ("head_camera=left",), **names))
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    run(ConvertDataset(source, target, "robotwin", camera, **names))
    assert records_of(target)[0].cameras == ("head_camera",)


def test_data_without_a_camera_say_so(tmp_path: Path) -> None:
    blind = replace(dual_arm(0, 12), cameras=(), images=np.zeros((12, 0, 0, 0, 3), np.uint8))
    source = write(RobotwinFolderWriter, tmp_path / "cell", blind)
    with pytest.raises(UserError, match=r"unknown camera 'top' in .*cell: the data have no camera$"):
        run(ConvertDataset(source, tmp_path / "set", "lerobot", ("head_camera=top",)))


def test_rates_are_corrected_and_changed(tmp_path: Path) -> None:
    source = write(RobotwinFolderWriter, tmp_path / "cell", replace(dual_arm(0, 31), rate_hz=15))
    target = tmp_path / "set"
    with pytest.raises(DataError, match=r"whole rates only, found 16\.6667 Hz: bring it to one by --rate-hz"):
        run(ConvertDataset(source, target, "lerobot", source_rate_hz=250 / 15))
    run(ConvertDataset(source, target, "lerobot", source_rate_hz=250 / 15, rate_hz=25))
    found = records_of(target)[0]
    assert found.rate_hz == 25 and len(found.action) == 46
    np.testing.assert_allclose(found.proprio[3], dual_arm(0, 31).proprio[2], atol=1e-5)
    for wrong in (-1.0, 0.0, math.inf, math.nan):
        with pytest.raises(UserError, match=f"--rate-hz must be a finite number above 0, got {wrong:g}"):
            run(ConvertDataset(source, tmp_path / "no", "lerobot", rate_hz=wrong))
        with pytest.raises(UserError, match=f"--source-rate-hz must be a finite .*, got {wrong:g}"):
            run(ConvertDataset(source, tmp_path / "no", "lerobot", source_rate_hz=wrong))


def test_robotwins_own_15_is_no_rate(tmp_path: Path) -> None:
    """Its files count physics steps there; in ours, which have a group `simulator`, 15 Hz are 15 Hz."""
    ours = write(RobotwinFolderWriter, tmp_path / "ours", replace(dual_arm(0, 31), rate_hz=15))
    run(ConvertDataset(ours, tmp_path / "a", "lerobot"))
    assert records_of(tmp_path / "a")[0].rate_hz == 15
    theirs = shutil.copytree(ours, tmp_path / "theirs")
    with h5py.File(theirs / "episode_0000000.hdf5", "a") as file:
        del file["simulator"]
    with pytest.raises(DataError, match=r"episode_0000000\.hdf5: says 15 Hz, .* --source-rate-hz, 16\.667"):
        run(ConvertDataset(theirs, tmp_path / "b", "lerobot", rate_hz=25))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "ours", "theirs"]
    run(ConvertDataset(theirs, tmp_path / "b", "lerobot", source_rate_hz=250 / 15, rate_hz=25))
    assert records_of(tmp_path / "b")[0].rate_hz == 25
    run(ConvertDataset(theirs, tmp_path / "c", "lerobot", source_rate_hz=15))
    assert records_of(tmp_path / "c")[0].rate_hz == 15


def test_a_column_that_only_some_episodes_have_is_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "libero").mkdir()
    for name, record in (("a", libero_like(0)), ("b", replace(libero_like(1), joint_states=None))):
        write(LiberoFileWriter, tmp_path / "libero" / f"{name}_demo.hdf5", record)
    text = run(ConvertDataset(tmp_path / "libero", tmp_path / "set", "lerobot"))
    assert "left out: joint_states (not every episode has it)" in text
    assert all(record.joint_states is None for record in records_of(tmp_path / "set"))


def test_another_robot_is_refused_and_nothing_is_left_behind(tmp_path: Path) -> None:
    ours = write(RobotwinFolderWriter, tmp_path / "cell", dual_arm(0, 12))
    theirs = write(LiberoFileWriter, tmp_path / "stove_demo.hdf5", libero_like())
    with pytest.raises(DataError, match=r"proprio is another robot's: expected ee_x, .*, found left_joint1"):
        run(ConvertDataset(ours, tmp_path / "out", "libero"))
    with pytest.raises(DataError, match=r"proprio is another robot's: expected left_joint1, .*, found ee_x"):
        run(ConvertDataset(theirs, tmp_path / "out", "robotwin"))
    with pytest.raises(UserError, match="cell exists"):
        run(ConvertDataset(theirs, ours, "lerobot"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cell", "stove_demo.hdf5"]
