"""LIBERO's HDF5: what is written is read back, LIBERO's layout is kept, and what is wrong is named."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from dataset_fixtures import ORANGE, TEAL, dual_arm, libero_like

from dygro_ros.errors import DataError, UserError
from training.episode_record import EpisodeRecord
from training.formats.detection import open_dataset
from training.formats.libero_writer import LiberoFileWriter, LiberoFolderWriter

NAME = "KITCHEN_SCENE3_turn_on_the_stove_demo.hdf5"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Eleven demonstrations: by their names as text, demo_10 would come before demo_2."""
    with LiberoFileWriter(
        tmp_path / NAME,
        attributes={"bddl_file_name": "stove.bddl"},
        problem={"domain_name": "robosuite"},
        environment={"type": 1, "env_kwargs": {"robots": ["Panda"]}},
    ) as writer:
        for seed in range(11):
            writer.add(libero_like(seed))
    return tmp_path / NAME


def test_everything_written_is_read_back_in_its_order(path: Path) -> None:
    source = open_dataset(path)
    assert (source.format, len(source), source.cameras) == ("libero", 11, ("agentview", "eye_in_hand"))
    for seed, found in enumerate(source.episodes()):
        record = libero_like(seed)
        for name in EpisodeRecord.__dataclass_fields__:
            if isinstance(getattr(record, name), np.ndarray):
                np.testing.assert_array_equal(getattr(found, name), getattr(record, name), err_msg=name)
            else:
                assert getattr(found, name) == getattr(record, name), name
    assert source.name(2) == f"{path}: data/demo_2"


def test_the_layout_is_liberos(path: Path) -> None:
    record = libero_like(1)
    with h5py.File(path) as file:
        data, demo = file["data"], file["data/demo_1"]
        assert json.loads(data.attrs["problem_info"]) == {
            "domain_name": "robosuite",
            "language_instruction": "turn on the stove",
        }
        assert json.loads(data.attrs["env_args"]) == {
            "type": 1,
            "env_kwargs": {"robots": ["Panda"], "control_freq": 20},
        }
        assert (data.attrs["num_demos"], data.attrs["total"]) == (11, 66)
        assert data.attrs["bddl_file_name"] == "stove.bddl"
        assert data.attrs["macros_image_convention"] == "opengl"
        assert demo.attrs["num_samples"] == 6
        np.testing.assert_array_equal(demo.attrs["init_state"], record.simulator_states[0])
        np.testing.assert_array_equal(demo["rewards"], [0, 0, 0, 0, 0, 1])
        np.testing.assert_array_equal(demo["dones"], [0, 0, 0, 0, 0, 1])
        np.testing.assert_array_equal(demo["obs/ee_states"], record.proprio[:, :6])
        np.testing.assert_array_equal(demo["obs/ee_ori"], record.proprio[:, 3:6])
        np.testing.assert_array_equal(demo["obs/gripper_states"], record.proprio[:, 6:])
        assert demo["robot_states"].shape == (6, 9)
        np.testing.assert_allclose(np.linalg.norm(demo["robot_states"][:, 5:], axis=1), 1)


def test_pictures_lie_upside_down_on_disk_and_upright_in_memory(path: Path) -> None:
    with h5py.File(path) as file:
        stored = file["data/demo_0/obs/agentview_rgb"][0]
    assert tuple(stored[0, 20]) == TEAL and tuple(stored[-1, 20]) == ORANGE
    upright = open_dataset(path).read(0, ("agentview",)).images[0, 0]
    assert tuple(upright[0, 20]) == ORANGE and tuple(upright[-1, 20]) == TEAL


def test_a_file_that_says_opencv_is_upright_already(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["data"].attrs["macros_image_convention"] = "opencv"
    assert tuple(open_dataset(path).read(0, ("agentview",)).images[0, 0, 0, 20]) == TEAL


def test_pictures_are_read_only_where_they_are_asked_for(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["data/demo_0/obs/eye_in_hand_rgb"]
    assert open_dataset(path).read(0, ()).images.shape == (6, 0, 0, 0, 3)
    assert open_dataset(path).read(0, ("agentview",)).cameras == ("agentview",)
    with pytest.raises(UserError, match=r"unknown camera 'wrist' .*expected one of agentview"):
        open_dataset(path).read(0, ("wrist",))


def test_words_of_an_instruction_and_missing_extras_are_borne(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["data"].attrs["problem_info"] = json.dumps({"language_instruction": ["turn", "it", "on"]})
        del file["data/demo_0/states"], file["data/demo_0/obs/joint_states"]
    found = open_dataset(path).read(0)
    assert found.instructions == ("turn it on",)
    assert found.simulator_states is None and found.joint_states is None


def _set(name: str, value: object) -> Callable[[h5py.File], None]:
    def spoil(file: h5py.File) -> None:
        place = f"data/demo_0/{name}".rstrip("/")
        del file[place]
        file[place] = value

    return spoil


def _attribute(name: str, value: object, group: str = "data") -> Callable[[h5py.File], None]:
    def spoil(file: h5py.File) -> None:
        file[group].attrs.pop(name, None)
        if value is not None:
            file[group].attrs[name] = value

    return spoil


def _without(name: str) -> Callable[[h5py.File], None]:
    def spoil(file: h5py.File) -> None:
        del file["data/demo_0"][name]

    return spoil


CONTROL_FREQ = '{"env_kwargs": {"control_freq": %s}}'


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without("actions"), r"data/demo_0/actions is missing"),
        (_without("obs/gripper_states"), r"data/demo_0/obs/gripper_states is missing"),
        (
            _set("actions", np.zeros((6, 14))),
            r"data/demo_0/actions must have shape \(T, 7\), found \(6, 14\)",
        ),
        (_set("obs/ee_states", np.zeros((5, 6))), r"obs/ee_states must have shape \(6, 6\), found \(5, 6\)"),
        (_set("actions", np.full((6, 7), np.nan)), r"demo_0/actions holds values that are not finite"),
        (
            _set("obs/agentview_rgb", np.zeros((6, 3, 32, 32), np.uint8)),
            r"agentview_rgb must be uint8 of shape \(6, H, W, 3\), found uint8 of shape \(6, 3, 32, 32\)",
        ),
        (
            _set("obs/agentview_rgb", np.zeros((6, 16, 16, 3), np.uint8)),
            r"one size, found agentview 16 x 16 px, eye_in_hand 32 x 32 px: choose by --cameras",
        ),
        (_attribute("problem_info", None), "attribute problem_info of data is missing"),
        (_attribute("problem_info", "stove"), "attribute problem_info of data must be JSON"),
        (_attribute("problem_info", "[1]"), "must be a JSON object, found"),
        (_attribute("problem_info", "{}"), "must hold a text language_instruction, found None"),
        (_attribute("problem_info", 5), "attribute problem_info of data must be text, found"),
        *(
            (_attribute("env_args", text), "must hold a finite env_kwargs.control_freq above 0")
            for text in ("{}", CONTROL_FREQ % "1e999", CONTROL_FREQ % "NaN", CONTROL_FREQ % f"1{'0' * 400}")
        ),
        (_attribute("macros_image_convention", [1, 2]), "macros_image_convention of data must be text"),
        (_attribute("seed", "abc", "data/demo_0"), "attribute seed of data/demo_0 must be a whole number"),
        (_attribute("task", 5, "data/demo_0"), "attribute task of data/demo_0 must be text, found"),
        (_set("", 5), r"data/demo_0 must be a group, found a dataset"),
        (_set("obs", 5), r"data/demo_0/obs/ee_states is missing"),
        (
            _set("obs/agentview_rgb", np.zeros((6, 0, 0, 3), np.uint8)),
            r"agentview_rgb must be uint8 of shape",
        ),
    ],
)
def test_what_is_wrong_is_named(path: Path, spoil: Callable[[h5py.File], None], message: str) -> None:
    with h5py.File(path, "a") as file:
        spoil(file)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(path).read(0)
    assert str(path) in str(caught.value)


def test_a_truncated_file_and_one_without_demonstrations_are_named(path: Path, tmp_path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"stove_demo\.hdf5: not a whole HDF5 file"):
        open_dataset(path)
    with h5py.File(tmp_path / "empty.hdf5", "w") as file:
        file.create_group("data")
    with pytest.raises(DataError, match="data/demo_0 is missing"):
        open_dataset(tmp_path / "empty.hdf5")


@pytest.mark.parametrize("broken", ["a_demo.hdf5", "b_demo.hdf5"])
def test_a_truncated_file_is_one_episode_that_cannot_be_read(tmp_path: Path, broken: str) -> None:
    for name in ("a_demo.hdf5", "b_demo.hdf5"):
        with LiberoFileWriter(tmp_path / name) as writer:
            writer.add(libero_like(0))
            writer.add(libero_like(1))
    (tmp_path / broken).write_bytes((tmp_path / broken).read_bytes()[:-2000])
    source = open_dataset(tmp_path)
    assert source.cameras == ("agentview", "eye_in_hand") and len(source) == 3
    unreadable = 0 if broken.startswith("a") else 2
    for index in range(3):
        if index == unreadable:
            with pytest.raises(DataError, match=rf"{broken}: not a whole HDF5 file"):
                source.read(index)
        else:
            assert len(source.read(index).action) == 6


@pytest.mark.parametrize("signature", [b"SNOD", b"TREE", b"HEAP"])
def test_a_file_that_is_damaged_within_is_named(path: Path, signature: bytes) -> None:
    path.write_bytes(path.read_bytes().replace(signature, b"none"))
    with pytest.raises(DataError, match=r"stove_demo\.hdf5: not a whole HDF5 file"):
        open_dataset(path)


def test_writing_refuses_what_the_format_cannot_hold(tmp_path: Path) -> None:
    record = libero_like()
    wrong = {
        "expected ee_x, .* found left_joint1": dual_arm(),
        "cameras of LIBERO are agentview and eye_in_hand, found top: .*agentview=top": replace(
            record, cameras=("top", "eye_in_hand")
        ),
        "must say 'turn on the stove' at 20 Hz like the file's first, found 'go' at": replace(
            record, instructions=("go",)
        ),
    }
    for message, other in wrong.items():
        with pytest.raises(DataError, match=message), LiberoFileWriter(tmp_path / NAME) as writer:
            writer.add(record)
            writer.add(other)
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="at least one demonstration"), LiberoFileWriter(tmp_path / NAME):
        pass
    (tmp_path / NAME).touch()
    with pytest.raises(UserError, match="exists: name another target, or remove it"):
        LiberoFileWriter(tmp_path / NAME)


def test_a_folder_gets_one_file_a_task(tmp_path: Path) -> None:
    moka = replace(libero_like(1), task=None, instructions=("put the moka pot on the stove!",))
    with LiberoFolderWriter(tmp_path / "out") as writer:
        for record in (libero_like(0), moka, libero_like(2)):
            writer.add(record)
        assert not (tmp_path / "out").exists()
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == [NAME, "put_the_moka_pot_on_the_stove__demo.hdf5"]
    source = open_dataset(tmp_path / "out")
    assert [record.instructions[0].split()[0] for record in source.episodes()] == ["turn", "turn", "put"]
    with pytest.raises(DataError), LiberoFolderWriter(tmp_path / "broken") as writer:
        writer.add(libero_like(0))
        writer.add(dual_arm())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(UserError, match="out exists"):
        LiberoFolderWriter(tmp_path / "out")


@pytest.mark.parametrize("task", ["../../stove", "/stove", "libero_90/stove", "..", "turn on: the stove?"])
def test_a_task_of_any_name_is_a_file_in_the_folder(tmp_path: Path, task: str) -> None:
    with LiberoFolderWriter(tmp_path / "in" / "out") as writer:
        writer.add(replace(libero_like(0), task=task))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    (file,) = (tmp_path / "in" / "out").iterdir()
    assert file.is_file() and file.name.endswith("_demo.hdf5")
    assert open_dataset(tmp_path / "in" / "out").read(0).task == task


def test_a_file_that_cannot_be_finished_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: LiberoFileWriter, data: h5py.Group) -> None:
        raise OSError("no space left on device")

    writer = LiberoFolderWriter(tmp_path / "out")
    writer.__enter__()
    writer.add(libero_like(0))
    writer.add(replace(libero_like(1), task="moka"))
    opened = [file._file for file in writer._files.values()]
    monkeypatch.setattr(LiberoFileWriter, "_write_attributes", full)
    with pytest.raises(OSError, match="no space left"):
        writer.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == [] and not any(opened)
