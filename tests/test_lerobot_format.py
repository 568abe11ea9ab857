"""LeRobotDataset v3.0: written and read without LeRobot, its layout kept, and what is wrong named."""

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_fixtures import dual_arm, libero_like
from PIL import Image

from dygro_ros.errors import DataError, UserError
from dygro_ros.layout import JOINT_NAMES
from training.episode_record import EpisodeRecord
from training.formats.detection import open_dataset
from training.formats.lerobot_layout import column_names
from training.formats.lerobot_writer import LeRobotWriter
from training.formats.source import EpisodeSource

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
HEAD = "observation.images.head_camera"


def written(folder: Path, records: list[EpisodeRecord], **options: object) -> EpisodeSource:
    with LeRobotWriter(folder, **options) as writer:  # type: ignore[arg-type]
        for record in records:
            writer.add(record)
        assert not folder.exists()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    return open_dataset(folder)


def assert_same(found: EpisodeRecord, record: EpisodeRecord, without: tuple[str, ...] = ()) -> None:
    for name in EpisodeRecord.__dataclass_fields__:
        value = getattr(record, name)
        if isinstance(value, np.ndarray) and name not in without:
            assert getattr(found, name).dtype == value.dtype
            np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)
        elif name not in without:
            assert getattr(found, name) == value, name


def episodes() -> list[EpisodeRecord]:
    """The third has another wording, and comes from no simulator."""
    third = replace(dual_arm(2, 14), instructions=("cup on coaster", "lay the cup down"))
    return [
        dual_arm(0, 12),
        dual_arm(1, 13),
        replace(third, task=None, seed=None, companion=None, randomization=None),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path / "set", episodes()).path


def test_images_and_everything_else_come_back_to_the_bit(folder: Path) -> None:
    source = open_dataset(folder)
    assert (source.format, len(source), source.cameras) == ("lerobot", 3, ("head_camera",))
    for found, record in zip(source.episodes(), episodes(), strict=True):
        assert_same(found, record)
    assert source.name(1) == f"{folder}: episode 1"


def test_another_robot_and_one_number_are_held_as_well(tmp_path: Path) -> None:
    record = libero_like()
    assert_same(written(tmp_path / "a", [record]).read(0), record)
    slim = replace(
        record, action=record.action[:, :1], action_names=("push",), joint_states=None, simulator_states=None
    )
    shutil.rmtree(tmp_path / "a")
    assert_same(written(tmp_path / "b", [slim]).read(0), slim)


def test_videos_hold_the_pictures_of_every_episode_where_they_belong(tmp_path: Path) -> None:
    records = episodes()
    source = written(tmp_path / "set", records, pictures="video")
    assert sorted(path.name for path in (source.path / "videos").glob("*/*/*")) == ["file-000.mp4"]
    for found, record in zip(source.episodes(), records, strict=True):
        assert_same(found, record, without=("images",))
        difference = np.abs(found.images.astype(int) - record.images).mean(axis=(1, 2, 3, 4))
        assert found.images.shape == record.images.shape and difference.max() < 6
        # The white stripe is where it was in this very frame.
        seen = found.images[:, 0, 20].min(axis=2).argmax(axis=1)
        assert np.all(np.abs(seen - 2 * np.arange(len(seen)) % 30) <= 2)


@pytest.mark.parametrize("pictures", ["image", "video"])
def test_large_files_are_followed_by_next_ones(tmp_path: Path, pictures: str) -> None:
    source = written(tmp_path / "set", episodes(), pictures=pictures, data_file_mb=1e-6, video_file_mb=1e-6)
    assert len(list((source.path / "data/chunk-000").iterdir())) == 3
    assert len(list((source.path / "videos").glob("*/*/*"))) == (3 if pictures == "video" else 0)
    for found, record in zip(source.episodes(), episodes(), strict=True):
        assert_same(found, record, without=("images",))
        assert np.abs(found.images.astype(int) - record.images).mean() < 6


def test_the_layout_is_lerobots(folder: Path) -> None:
    info = json.loads((folder / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"]) == ("v3.0", 25)
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 39, 3)
    assert info["data_path"].format(chunk_index=0, file_index=0) == DATA and info["video_path"] is None
    assert info["features"]["action"] == {"dtype": "float32", "shape": [14], "names": list(JOINT_NAMES)}
    assert info["features"][HEAD]["dtype"] == "image" and info["features"][HEAD]["shape"] == [32, 32, 3]
    assert info["features"]["timestamp"] == {"dtype": "float32", "shape": [1], "names": None}
    tasks = pq.read_table(folder / "meta/tasks.parquet")
    assert tasks["task"].to_pylist() == [*dual_arm().instructions, "lay the cup down"]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    rows = pq.read_table(folder / DATA)
    assert rows.schema.field("action").type == pa.list_(pa.float32(), 14)
    assert rows["index"].to_pylist() == list(range(39))
    assert rows["episode_index"].to_pylist() == [0] * 12 + [1] * 13 + [2] * 14
    assert rows["task_index"].to_pylist() == [0] * 25 + [1] * 14
    np.testing.assert_allclose(rows["timestamp"].to_pylist()[12:14], [0, 0.04])
    assert pq.ParquetFile(folder / DATA).num_row_groups == 3
    listed = pq.read_table(folder / EPISODES).to_pylist()
    assert [row["dataset_from_index"] for row in listed] == [0, 12, 25]
    assert [row["dataset_to_index"] for row in listed] == [12, 25, 39]
    assert listed[2]["tasks"] == ["cup on coaster", "lay the cup down"]


def test_statistics_are_lerobots_too(folder: Path) -> None:
    stored = json.loads((folder / "meta/stats.json").read_text())
    actions = np.concatenate([record.action for record in episodes()])
    np.testing.assert_allclose(stored["action"]["mean"], actions.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(stored["action"]["q99"], np.quantile(actions, 0.99, axis=0), rtol=1e-5)
    assert stored["action"]["count"] == stored["index"]["count"] == [39]
    images = np.concatenate([record.images for record in episodes()]) / 255
    picture = stored[HEAD]
    for name, value in (("mean", images.mean((0, 1, 2, 3))), ("std", images.std((0, 1, 2, 3)))):
        assert np.shape(picture[name]) == (3, 1, 1)
        np.testing.assert_allclose(np.ravel(picture[name]), value, rtol=1e-6)
    for name, share in (("min", 0), ("q50", 0.5), ("q90", 0.9), ("max", 1)):
        expected = np.quantile(images, share, axis=(0, 1, 2, 3), method="inverted_cdf")
        np.testing.assert_allclose(np.ravel(picture[name]), expected, rtol=1e-6, err_msg=name)
    assert picture["count"] == [39]


def test_a_dataset_by_others_is_read(folder: Path) -> None:
    """Names under a heading, JPEGs, tasks indexed by pandas' own name, a depth camera, changing tasks."""
    info = json.loads((folder / "meta/info.json").read_text())
    info["features"]["action"]["names"] = {"motors": list(JOINT_NAMES)}
    info["features"]["observation.state"]["names"] = None
    info["features"]["observation.images.depth"] = {
        "dtype": "video",
        "shape": [32, 32, 1],
        "names": None,
        "info": {"video.is_depth_map": True},
    }
    (folder / "meta/info.json").write_text(json.dumps(info))
    tasks = pq.read_table(folder / "meta/tasks.parquet")
    pq.write_table(tasks.rename_columns(["task_index", "__index_level_0__"]), folder / "meta/tasks.parquet")
    rows = pq.read_table(folder / DATA)
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 100, 50)).save(buffer, "JPEG", quality=95)
    jpeg = pa.array([{"bytes": buffer.getvalue(), "path": None}] * 39, rows.schema.field(HEAD).type)
    rows = rows.set_column(rows.schema.get_field_index(HEAD), HEAD, jpeg)
    rows = rows.set_column(
        rows.schema.get_field_index("task_index"), "task_index", pa.array([0] * 6 + [2] * 33, pa.int64())
    )
    pq.write_table(rows, folder / DATA)
    source = open_dataset(folder)
    found = source.read(0)
    assert source.cameras == ("head_camera",)
    assert found.action_names == JOINT_NAMES and found.proprio_names[:2] == ("state_0", "state_1")
    assert found.instructions == (dual_arm().instructions[0], "lay the cup down", dual_arm().instructions[1])
    np.testing.assert_allclose(found.images[3, 0, 16, 16], (200, 100, 50), atol=3)


def test_columns_are_named_as_far_as_a_dataset_says() -> None:
    def names(value: object, size: int = 2) -> tuple[str, ...]:
        return column_names({"shape": [size], "names": value}, "action")

    assert names(["x", "y"]) == names({"motors": ["x", "y"]}) == names({"y": 1, "x": 0}) == ("x", "y")
    assert names(None) == names(["actions"]) == names({"a": 3}) == ("action_0", "action_1")
    assert names({"a": ["x", "gripper"], "b": ["gripper"]}, 3) == ("x", "gripper_1", "gripper_2")


def _info(**changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        info = json.loads((folder / "meta/info.json").read_text())
        for key, value in changes.items():
            if value is None:
                del info[key]
            else:
                info[key] = value
        (folder / "meta/info.json").write_text(json.dumps(info))

    return spoil


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-200]) and None


def _column(
    file: str, name: str, change: Callable[[list], list] | None, kind: pa.DataType | None = None
) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        table = pq.read_table(folder / file)
        place, stored = table.schema.get_field_index(name), table.schema.field(name).type
        table = table.remove_column(place)
        if change is not None:
            values = change(pq.read_table(folder / file)[name].to_pylist())
            table = table.append_column(name, pa.array(values, kind or stored))
        pq.write_table(table, folder / file)

    return spoil


V21_REMEDY = r"found v2\.1: convert it with LeRobot's own converter, .*convert_dataset_v21_to_v30"
NOT_FINITE = r"episode 0: action holds values that are not finite"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_remove("meta/info.json"), r"meta/info\.json: no such file, the dataset's description is missing"),
        (_info(codebase_version="v2.1"), rf"info\.json: codebase_version must be v3\.0, {V21_REMEDY}"),
        (_info(codebase_version="v4.0"), r"codebase_version must be v3\.0, found v4\.0$"),
        (_info(fps=0), "fps must be a finite number above 0, found 0"),
        (_info(fps=None), "fps is missing"),
        (_info(features={"actions": {}}), "features must hold observation.state and action, found actions"),
        (_info(total_episodes=4), "must hold the 4 episodes that meta/info.json counts, found 3"),
        (lambda folder: (folder / "meta/info.json").write_text("{"), "cannot be read as JSON"),
        (_remove("meta/tasks.parquet"), r"meta/tasks\.parquet: no such file"),
        (_cut("meta/tasks.parquet"), r"tasks\.parquet: not a whole Parquet file, it is truncated"),
        (_column("meta/tasks.parquet", "task", None), "must hold task_index and task, found task_index"),
        (_remove(EPISODES), r"meta/episodes: holds no table \(chunk-000/file-000\.parquet\)"),
        (_cut(EPISODES), r"file-000\.parquet: not a whole Parquet file"),
        (_column(EPISODES, "episode_index", lambda values: values[::-1]), "row 0 must be episode 0 with"),
        (_column(EPISODES, "data/file_index", None), "data/file_index of episode 0 is missing"),
        (_column(EPISODES, "length", lambda values: [11, *values[1:]]), "must have 11 rows, found 12"),
        (_remove(DATA), r"data/chunk-000/file-000\.parquet: no such file"),
        (_cut(DATA), r"data/chunk-000/file-000\.parquet: not a whole Parquet file"),
        (_column(DATA, "action", None), r"file-000\.parquet: column action is missing, found"),
        (_column(DATA, "action", lambda v: [[np.nan] * 14, *v[1:]]), NOT_FINITE),
        (_column(DATA, "action", lambda v: [None, *v[1:]]), "action must hold 14 numbers in every row"),
        *(
            (_column(DATA, "action", lambda v, row=row: [row] * len(v), kind), "action must hold 14 numbers")
            for row, kind in (
                ("x", pa.string()),
                ([0.5], pa.list_(pa.float32())),
                (["x"] * 14, pa.list_(pa.string())),
                ([None] * 14, pa.list_(pa.float32())),
            )
        ),
        (
            _column(DATA, "action", lambda v: [v[0][:13], [*v[1], 0.5], *v[2:]], pa.list_(pa.float32())),
            "action must hold 14 numbers in every row",
        ),
        (
            _column(DATA, "action", lambda v: [[1e300] * 14] * len(v), pa.list_(pa.float64())),
            "action holds values too large for float32",
        ),
        (_column(DATA, "episode_index", None), "column episode_index is missing"),
        (
            _column(DATA, "task_index", lambda v: [[0, 1]] * len(v), pa.list_(pa.int64())),
            "task_index must hold 1 number in every row",
        ),
        (_column(DATA, "task_index", lambda v: [9] * len(v)), r"tasks\.parquet: task 9 is missing"),
        (
            _column(DATA, "timestamp", lambda v: [2 * t for t in v]),
            "must count up at 25 Hz, row 11",
        ),
        *(
            (_column(DATA, "timestamp", lambda v, row=row: [row] * len(v), kind), message)
            for row, kind, message in (
                ("now", pa.string(), "timestamp of episode 0 must hold 1 number in every row"),
                (None, pa.float32(), "timestamp of episode 0 must hold 1 number in every row"),
                (np.nan, pa.float32(), "timestamp of episode 0 holds values that are not finite"),
            )
        ),
        (_column(DATA, HEAD, lambda v: [None, *v[1:]]), r"head_camera\[0\] must hold the bytes of a picture"),
        (
            _column(DATA, HEAD, lambda v: [v[0], {"bytes": v[1]["bytes"][:40], "path": ""}, *v[2:]]),
            r"head_camera\[1\] is not a whole picture",
        ),
    ],
)
def test_what_is_wrong_is_named(folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(folder)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(folder).read(0)
    assert str(folder) in str(caught.value)


def test_a_video_that_is_missing_or_too_short_is_named(tmp_path: Path) -> None:
    source = written(tmp_path / "set", episodes(), pictures="video")
    video = source.path / "videos" / HEAD / "chunk-000/file-000.mp4"
    column = f"videos/{HEAD}/from_timestamp"
    for row, kind in (("zero", pa.string()), (np.nan, pa.float64()), ([0.0], pa.list_(pa.float64()))):
        spoiled = shutil.copytree(source.path, tmp_path / f"{kind}")
        _column(EPISODES, column, lambda v, row=row: [row] * len(v), kind)(spoiled)
        with pytest.raises(DataError, match=rf"{column} of episode 0 must be a finite number, found"):
            open_dataset(spoiled).read(0)
    assert source.read(0, cameras=()).images.shape == (12, 0, 0, 0, 3)
    _column(EPISODES, column, lambda v: [t + 0.2 for t in v])(source.path)
    with pytest.raises(
        DataError, match=r"mp4: must hold 14 pictures from 1.2 s on at 25 Hz, 5 are missing, .* 1.56 s"
    ):
        open_dataset(source.path).read(2)
    video.write_bytes(video.read_bytes()[:900])
    with pytest.raises(DataError, match=r"file-000\.mp4: not a whole video, it is truncated or damaged"):
        source.read(1)
    video.unlink()
    with pytest.raises(DataError, match=r"file-000\.mp4: no such video"):
        source.read(1)
    _info(video_path=None)(source.path)
    with pytest.raises(DataError, match=r"info\.json: video_path is missing"):
        open_dataset(source.path).read(0)


def test_writing_refuses_what_does_not_fit_and_leaves_nothing(tmp_path: Path) -> None:
    record = dual_arm(0, 12)
    slow, odd = replace(record, rate_hz=250 / 15), dual_arm(0, 12, size=31)
    wrong: dict[str, tuple[str, EpisodeRecord, EpisodeRecord]] = {
        "whole rates only, found 16.6667 Hz: bring it to one by --rate-hz 25": ("image", slow, record),
        "wants even height and width, got 31 x 31 px: keep pictures as images": ("video", odd, record),
        "the first episode's rate and features, found 20 Hz and others in observation.state, action": (
            "image",
            record,
            libero_like(),
        ),
        "found 25 Hz and others in privileged_state": ("image", record, replace(record, privileged=None)),
        "found 50 Hz and others in none": ("image", record, replace(record, rate_hz=50)),
    }
    for message, (pictures, *records) in wrong.items():
        with pytest.raises(DataError, match=message), LeRobotWriter(tmp_path / "set", pictures=pictures) as w:
            for episode in records:
                w.add(episode)
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="at least one episode"), LeRobotWriter(tmp_path / "set"):
        pass
    (tmp_path / "set").mkdir()
    with pytest.raises(UserError, match="set exists: name another target"):
        LeRobotWriter(tmp_path / "set")
