"""What a LeRobotDataset says wrong of itself is named by file and field, and nothing crashes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_fixtures import dual_arm

from dygro_ros.errors import DataError
from training.formats.detection import open_dataset
from training.formats.lerobot_writer import LeRobotWriter

EPISODES = "meta/episodes/chunk-000/file-000.parquet"
HEAD = "observation.images.head_camera"
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with LeRobotWriter(tmp_path / "set") as writer:
        writer.add(dual_arm(0, 4))
    return tmp_path / "set"


def change(folder: Path, how: Change) -> None:
    path = folder / "meta/info.json"
    info = json.loads(path.read_text())
    how(info)
    path.write_text(json.dumps(info))


def says(**values: object) -> Change:
    return lambda info: info.update(values)


def feature(key: str, **values: object) -> Change:
    return lambda info: info["features"][key].update(values)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (says(features=["action"]), "features must be a JSON object, found a list"),
        (lambda info: info["features"].update(action=[14]), r"feature action must be .*, found \[14\]"),
        (lambda info: info["features"][HEAD].pop("dtype"), f"dtype of {HEAD} must be a text, found None"),
        (feature(HEAD, info=["video"]), f"info of {HEAD} must be a JSON object, found"),
        (feature("action", shape=None), "shape of action must be one number, found None"),
        (feature("action", shape=["14"]), r"shape of action must be one number, found \['14'\]"),
        (feature("privileged_state", shape=[]), r"shape of privileged_state must be one number, found \[\]"),
        (says(fps=10**400), "fps must be a finite number above 0, found 1000"),
        (says(fps=float("nan")), "fps must be a finite number above 0, found nan"),
        (says(total_episodes="1"), "total_episodes must be a number, found '1'"),
        (says(data_path=7), "data_path must be .* no fields but {chunk_index}, {file_index}, found 7"),
        (says(data_path="data/{episode_chunk:03d}.parquet"), "data_path must be .* found 'data/{episode_chu"),
        (says(data_path="data/{chunk_index.parquet"), "data_path must be a path"),
        (says(data_path="data/{}.parquet"), "data_path must be a path"),
        (says(data_path="data/{chunk_index.real}.parquet"), "data_path must be a path"),
        (says(data_path="data/{chunk_index:999999999d}.parquet"), "data_path must be a path"),
        (says(data_path="data/{chunk_index!r}.parquet"), "data_path must be a path"),
        (says(data_path="{video_key}.parquet"), "data_path must be a path"),
        (says(video_path="{video_key:03d}.mp4"), "video_path must be .*{file_index}, {video_key}, found"),
        (
            says(data_path="/etc/file-{file_index:03d}"),
            "the path of data of episode 0 must stay within the dataset, found /etc/file-000",
        ),
        (says(data_path="data/../../{file_index}"), r"must stay within the dataset, found data/\.\./\.\./0"),
    ],
)
def test_what_it_says_wrong_is_named(folder: Path, how: Change, message: str) -> None:
    change(folder, how)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(folder).read(0)
    assert str(folder / "meta/info.json") in str(caught.value)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("data/file_index", ["zero"], "data/file_index of episode 0 must be a whole number, found 'zero'"),
        ("length", ["four"], "row 0 must be episode 0 with its length, found episode 0 of length four"),
        ("length", [0], "found episode 0 of length 0"),
        ("tasks", [5], "tasks of episode 0 must be a list of texts, found 5"),
        ("tasks", ["cup"], "tasks of episode 0 must be a list of texts, found 'cup'"),
        ("tasks", [[5]], r"tasks of episode 0 must be a list of texts, found \[5\]"),
        ("simulator/seed", ["abc"], "simulator/seed of episode 0 must be a whole number, found 'abc'"),
        ("simulator/task", [7], "simulator/task of episode 0 must be text, found 7"),
    ],
)
def test_an_episodes_row_is_checked(folder: Path, column: str, values: list[object], message: str) -> None:
    table = pq.read_table(folder / EPISODES)
    place = table.schema.get_field_index(column)
    pq.write_table(table.set_column(place, column, pa.array(values)), folder / EPISODES)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(folder).read(0)
    assert str(folder / "meta/episodes") in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("task", 5, r"task of task 0 must be text, found 5"),
        ("task_index", "zero", "task_index must hold integers, found string"),
        ("task_index", [0], "task_index must hold integers, found list"),
    ],
)
def test_the_table_of_tasks_is_checked(folder: Path, column: str, value: object, message: str) -> None:
    path = folder / "meta/tasks.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index(column)
    pq.write_table(table.set_column(place, column, pa.array([value] * table.num_rows)), path)
    with pytest.raises(DataError, match=rf"meta/tasks\.parquet: {message}"):
        open_dataset(folder)


def test_text_that_is_no_utf_8_is_damage(folder: Path) -> None:
    path = folder / "meta/tasks.parquet"
    table = pq.read_table(path)
    texts = pa.array([b"\xf1x"] * table.num_rows, pa.binary()).view(pa.string())
    place = table.schema.get_field_index("task")
    damaged = table.set_column(place, "task", texts).replace_schema_metadata(None)
    pq.write_table(damaged, path)
    with pytest.raises(DataError, match=r"meta/tasks\.parquet: not a whole Parquet file"):
        open_dataset(folder)
    pq.write_table(table.replace_schema_metadata(None), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"task_index", b"task\xf1ndex"))
    with pytest.raises(DataError, match=r"meta/tasks\.parquet: not a whole Parquet file"):
        open_dataset(folder)


def test_a_description_that_is_a_folder_or_empty_is_named(folder: Path) -> None:
    path = folder / "meta/info.json"
    path.write_text("")
    with pytest.raises(DataError, match=r"meta/info\.json: cannot be read as JSON"):
        open_dataset(folder)
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=r"meta/info\.json: cannot be read"):
        open_dataset(folder)


def test_templates_of_others_and_links_into_a_cache_are_followed(folder: Path) -> None:
    """The hub's cache holds the files elsewhere, and links to them where they belong."""
    shutil.move(folder / "data/chunk-000/file-000.parquet", folder.parent / "blob")
    (folder / "rows").mkdir()
    (folder / "rows/0-00.parquet").symlink_to(folder.parent / "blob")
    change(folder, says(data_path="rows/{chunk_index}-{file_index:02d}.parquet"))
    assert len(open_dataset(folder).read(0).action) == 4
