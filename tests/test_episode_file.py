"""Episode files: what is written is read back, RoboTwin's layout is kept, and damage is named."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from dygro_ros.errors import DataError
from dygro_ros.layout import GRIPPER_INDICES, JOINT_LOWER, JOINT_NAMES, JOINT_UPPER
from sim2real.cell.arms import ArmKinematics
from training.episode_file import EpisodeRecord, read_episode, write_episode

FRAMES = 6
SIZE = 16


def make_record(seed: int = 0) -> EpisodeRecord:
    rng = np.random.default_rng(seed)
    joints = rng.uniform(JOINT_LOWER, JOINT_UPPER, (3, FRAMES, 14)).astype(np.float32)
    images = np.zeros((FRAMES, 1, SIZE, SIZE, 3), dtype=np.uint8)
    images[..., :8, :] = (220, 30, 40)
    images[..., 8:, :] = (20, 60, 200)
    return EpisodeRecord(
        instructions=("put the cup on the coaster", "place the cup"),
        rate_hz=25.0,
        proprio=joints[0],
        action=joints[1],
        cameras=("head_camera",),
        images=images,
        executed=joints[2],
        privileged=rng.standard_normal((FRAMES, 5)).astype(np.float32),
        task="place_empty_cup",
        seed=1_000_000_003,
        companion="beat_block_hammer",
        randomization='{"latency_steps": 1}',
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "episode0.hdf5"
    write_episode(path, make_record())
    return path


def test_everything_written_is_read_back(path: Path) -> None:
    record, found = make_record(), read_episode(path)
    for name in ("proprio", "action", "executed", "privileged"):
        np.testing.assert_array_equal(getattr(found, name), getattr(record, name))
    for name in ("instructions", "rate_hz", "cameras", "task", "seed", "companion", "randomization"):
        assert getattr(found, name) == getattr(record, name), name
    assert found.images.dtype == np.uint8 and found.images.shape == record.images.shape
    assert np.abs(found.images.astype(int) - record.images.astype(int)).mean() < 4


def test_writing_is_repeatable_to_the_byte_and_leaves_nothing_beside(path: Path) -> None:
    first = path.read_bytes()
    write_episode(path, make_record())
    assert path.read_bytes() == first
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_layout_is_robotwins(path: Path) -> None:
    record = make_record()
    with h5py.File(path) as file:
        assert file["data_format_version"][()] == b"v1.0"
        assert json.loads(file["instructions"][()]) == list(record.instructions)
        assert file["additional_info/frequency"][()] == 25
        for group, values in (("state", record.proprio), ("action", record.action)):
            for side, start in (("left", 0), ("right", 7)):
                np.testing.assert_array_equal(
                    file[f"{group}/{side}_arm_joint_states"], values[:, start : start + 6]
                )
                gripper = file[f"{group}/{side}_ee_joint_states"]
                assert gripper.shape == (FRAMES, 1)
                np.testing.assert_array_equal(gripper[:, 0], values[:, start + 6])
                poses = file[f"{group}/{side}_ee_poses"][()]
                assert poses.shape == (FRAMES, 7)
                tcp = ArmKinematics(side).forward(values[2, start : start + 6].astype(float))
                np.testing.assert_allclose(poses[2, :3], tcp.position, atol=1e-5)
                np.testing.assert_allclose(np.linalg.norm(poses[:, 3:], axis=1), 1, atol=1e-5)
        assert file["vision/cam_head/colors"].dtype.kind == "S"
        assert file["vision/cam_head/shape"][()].tolist() == [SIZE, SIZE, 3]


def test_jpegs_hold_reversed_channels_on_disk_and_true_colours_when_read(path: Path) -> None:
    with h5py.File(path) as file:
        stored = np.asarray(Image.open(io.BytesIO(file["vision/cam_head/colors"][0])))
    np.testing.assert_allclose(stored[4, 2], (40, 30, 220), atol=6)  # red and blue exchanged
    np.testing.assert_allclose(read_episode(path).images[0, 0, 4, 2], (220, 30, 40), atol=6)


def test_several_cameras_come_in_the_order_asked(tmp_path: Path) -> None:
    record = make_record()
    views = np.concatenate([record.images, record.images[..., ::-1]], axis=1)
    path = tmp_path / "two.hdf5"
    write_episode(path, replace(record, cameras=("head_camera", "left_camera"), images=views))
    found = read_episode(path, cameras=("left_camera", "head_camera"))
    np.testing.assert_allclose(found.images[0, 1, 4, 2], (220, 30, 40), atol=6)
    np.testing.assert_allclose(found.images[0, 0, 4, 2], (40, 30, 220), atol=6)


def test_a_file_by_robotwin_itself_is_read(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["simulator"], file.attrs["joint_names"], file["instructions"]
        file["instructions"] = np.array(["move the cup", "cup onto coaster"], dtype=h5py.string_dtype())
        for side in ("left", "right"):  # some converters leave the gripper's last axis out
            values = file[f"state/{side}_ee_joint_states"][:, 0]
            del file[f"state/{side}_ee_joint_states"]
            file[f"state/{side}_ee_joint_states"] = values
    found = read_episode(path)
    assert found.instructions == ("move the cup", "cup onto coaster")
    assert (found.task, found.seed, found.executed, found.privileged) == (None, None, None, None)
    np.testing.assert_array_equal(found.proprio, make_record().proprio)


def replace_field(field: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[field]
        if value is not None:
            file[field] = value

    return change


def attribute(group: str, name: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[group].attrs[name] = value

    return change


SWAPPED_NAMES = json.dumps([*JOINT_NAMES[7:], *JOINT_NAMES[:7]])


def cut_jpeg(file: h5py.File) -> None:
    colors = file["vision/cam_head/colors"][()]
    colors[3] = colors[3][: len(colors[3]) // 2]
    replace_field("vision/cam_head/colors", colors)(file)


def nan_in_action(file: h5py.File) -> None:
    file["action/left_arm_joint_states"][1, 2] = np.nan


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        (replace_field("state", None), "state/left_arm_joint_states", "is missing"),
        (replace_field("vision/cam_head/colors", None), "vision/cam_head/colors", "is missing"),
        (replace_field("instructions", "[]"), "instructions", "at least one text"),
        (replace_field("instructions", "no list"), "instructions", "JSON list"),
        (replace_field("additional_info/frequency", 15), "additional_info/frequency", "25 Hz, found 15 Hz"),
        (replace_field("data_format_version", "v2.0"), "data_format_version", "'v1.0', found 'v2.0'"),
        (
            replace_field("action/right_arm_joint_states", np.zeros((FRAMES, 7), np.float32)),
            "action/right_arm_joint_states",
            rf"\({FRAMES}, 6\), found \({FRAMES}, 7\)",
        ),
        (
            replace_field("action/right_arm_joint_states", np.zeros((FRAMES - 1, 6), np.float32)),
            "action/right_arm_joint_states",
            rf"found \({FRAMES - 1}, 6\)",
        ),
        (
            replace_field("state/left_ee_joint_states", np.full((FRAMES, 1), 2.1)),
            "state/left_ee_joint_states",
            "1 .open., found 2.1",
        ),
        (replace_field("state/left_ee_joint_states", "half open"), "state/left_ee_joint_states", "numbers"),
        *(
            (replace_field("additional_info/frequency", value), "additional_info/frequency", "above 0, found")
            for value in (0, -5, np.nan, np.inf, "25 Hz", [], [25, 25], h5py.Empty("f4"))
        ),
        (replace_field("additional_info", 25), "additional_info/frequency", "is missing"),
        (attribute("/", "joint_names", SWAPPED_NAMES), "attribute joint_names", "right_joint1"),
        *(
            (attribute("/", "joint_names", value), "attribute joint_names", "JSON list of texts, found")
            for value in ("left_joint1", "5", "[5]")
        ),
        (attribute("/", "joint_names", 5), "attribute joint_names", "must be text, found"),
        *(
            (attribute("simulator", "seed", value), "attribute seed of simulator", "whole number, found")
            for value in ("abc", 1.5, [1, 2])
        ),
        (attribute("simulator", "task", 7), "attribute task of simulator", "must be text, found"),
        (replace_field("simulator", 7), "simulator", "must be a group, found a dataset"),
        (
            replace_field("action/right_arm_joint_states", np.full((FRAMES, 6), 1e300)),
            "action/right_arm_joint_states",
            r"too large for float32, up to 1e\+300",
        ),
        (
            replace_field("simulator/privileged_state", np.zeros((FRAMES, 0))),
            "simulator/privileged_state",
            r"shape .6, P., found .6, 0.",
        ),
        (cut_jpeg, r"vision/cam_head/colors\[3\]", "not a whole JPEG"),
        (nan_in_action, "action/left_arm_joint_states", "not finite"),
        (
            replace_field("simulator/executed_action", np.zeros((FRAMES, 13))),
            "simulator/executed_action",
            "found .6, 13.",
        ),
    ],
)
def test_a_bad_field_is_refused_by_field_and_file(
    path: Path, change: Callable[[h5py.File], None], field: str, problem: str
) -> None:
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(DataError, match=f"episode0.hdf5: .*{field}.*{problem}"):
        read_episode(path)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.999])
def test_a_truncated_file_is_refused_by_name(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=r"episode0.hdf5"):
        read_episode(path)


@pytest.mark.parametrize("signature", [b"SNOD", b"TREE", b"HEAP"])
def test_a_file_that_is_damaged_within_is_refused_by_name(path: Path, signature: bytes) -> None:
    path.write_bytes(path.read_bytes().replace(signature, b"none"))
    with pytest.raises(DataError, match=r"episode0.hdf5: .*(damaged|missing)"):
        read_episode(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.hdf5: no such"):
        read_episode(tmp_path / "none.hdf5")


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_beside(path: Path) -> None:
    before = path.read_bytes()
    broken = replace(make_record(), images=np.zeros((FRAMES, 1, SIZE, SIZE, 4), dtype=np.uint8)[..., :1])
    with pytest.raises(TypeError):
        write_episode(path, broken)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_grippers_of_the_record_lie_where_the_layout_says(path: Path) -> None:
    with h5py.File(path) as file:
        left = file["state/left_ee_joint_states"][:, 0]
    np.testing.assert_array_equal(read_episode(path).proprio[:, GRIPPER_INDICES[0]], left)
