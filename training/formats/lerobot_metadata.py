"""What a LeRobotDataset says of itself: `meta/info.json`, its tasks and its episodes, read and checked."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from string import Formatter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dygro_ros.errors import DataError
from training.episode_record import is_rate
from training.formats.lerobot_layout import (
    ACTION,
    DATA_PATH,
    EPISODES,
    EXTRAS,
    INFO,
    MAJOR,
    ORIGIN,
    ORIGIN_PREFIX,
    STATE,
    TASKS,
    VERSION,
    column_names,
    is_depth,
)

# What a template of paths may hold: two numbers, each with a width such as 03d, and a video's feature.
NUMBERS, VIDEO_KEY = ("chunk_index", "file_index"), "video_key"
_WIDTH = re.compile(r"(0?\d{1,2}d)?")
CONVERTER = "python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id=<name> --root=<folder>"


class LeRobotMetadata:
    """The parsed `meta/` of a dataset.

    Args:
        root: The dataset's folder.

    Attributes:
        features: Description of each feature by its key.
        rate_hz: Frames a second.
        episodes: One row for each episode, in order.
        data_path: Template of the data files' paths.
        video_path: Template of the videos' paths, None where there are none.

    Raises:
        DataError: A file is missing, damaged or of another version.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        info = self._read_info()
        self.features: dict[str, dict[str, Any]] = info["features"]
        self.rate_hz = float(info["fps"])
        self.data_path: str = info.get("data_path") or DATA_PATH
        self.video_path: str | None = info.get("video_path")
        self._tasks = self._read_tasks()
        self.episodes = self._read_episodes()
        if len(self.episodes) != info["total_episodes"]:
            raise DataError(
                f"{root / EPISODES}: must hold the {info['total_episodes']} episodes that {INFO} counts, "
                f"found {len(self.episodes)}"
            )

    def _read_info(self) -> dict[str, Any]:
        path = self.root / INFO
        try:
            info = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(f"{path}: no such file, the dataset's description is missing") from error
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as JSON ({error})") from error
        version = info.get("codebase_version") if isinstance(info, dict) else None
        if not isinstance(version, str) or not version.startswith(MAJOR):
            old = isinstance(version, str) and version.startswith("v2")
            remedy = f": convert it with LeRobot's own converter, {CONVERTER}" if old else ""
            raise DataError(f"{path}: codebase_version must be {VERSION}, found {version}{remedy}")
        for key in ("fps", "features", "total_episodes"):
            if key not in info:
                raise DataError(f"{path}: {key} is missing")
        if not is_rate(info["fps"]):
            raise DataError(f"{path}: fps must be a finite number above 0, found {info['fps']!r}")
        if not isinstance(info["total_episodes"], int):
            raise DataError(f"{path}: total_episodes must be a number, found {info['total_episodes']!r}")
        _check_features(path, info["features"])
        for key in ("data_path", "video_path"):
            _check_template(path, key, info.get(key))
        return info

    def _read_tasks(self) -> dict[int, str]:
        path = self.root / TASKS
        table = read_table(path)
        text = next((name for name in ("task", "__index_level_0__") if name in table.column_names), None)
        if text is None or "task_index" not in table.column_names:
            raise DataError(f"{path}: must hold task_index and task, found {', '.join(table.column_names)}")
        if not pa.types.is_integer(table["task_index"].type):
            raise DataError(f"{path}: task_index must hold integers, found {table['task_index'].type}")
        tasks = dict(zip(table["task_index"].to_pylist(), table[text].to_pylist(), strict=True))
        for index, task in tasks.items():
            if not isinstance(task, str):
                raise DataError(f"{path}: {text} of task {index} must be text, found {task!r}")
        return tasks

    def _read_episodes(self) -> list[dict[str, Any]]:
        files = sorted((self.root / EPISODES).glob("*/*.parquet"))
        if not files:
            raise DataError(f"{self.root / EPISODES}: holds no table (chunk-000/file-000.parquet)")
        rows: list[dict[str, Any]] = []
        for path in files:
            table = read_table(path)
            kept = [name for name in table.column_names if not name.startswith("stats/")]
            rows += table.select(kept).to_pylist()
        for row, episode in enumerate(rows):
            length = episode.get("length")
            if episode.get("episode_index") != row or not isinstance(length, int) or length < 1:
                raise DataError(
                    f"{self.root / EPISODES}: row {row} must be episode {row} with its length, "
                    f"found episode {episode.get('episode_index')} of length {length}"
                )
        return rows

    @property
    def camera_keys(self) -> list[str]:
        """Keys of the features that are colour pictures."""
        return [
            key
            for key, feature in self.features.items()
            if feature["dtype"] in ("image", "video") and not is_depth(feature)
        ]

    def names(self, key: str) -> tuple[str, ...]:
        """Return the names of a vector feature's columns."""
        return column_names(self.features[key], key.removeprefix("observation."))

    def task(self, index: int) -> str:
        """Return the text of a task.

        Raises:
            DataError: There is no such task.
        """
        if index not in self._tasks:
            raise DataError(f"{self.root / TASKS}: task {index} is missing")
        return self._tasks[index]

    def tasks_of(self, index: int) -> list[str]:
        """Return the texts of an episode's tasks, as its row has them; none where it has no such column.

        Raises:
            DataError: They are no list of texts.
        """
        tasks = self.episodes[index].get("tasks")
        if tasks is None:
            return []
        if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
            raise self._error(index, "tasks", "a list of texts", tasks)
        return tasks

    def origin(self, index: int, name: str) -> str | int | None:
        """Return what an episode of ours says of where it came from, None where it says nothing.

        Args:
            index: The episode.
            name: One of `ORIGIN`.

        Raises:
            DataError: It is of another type.
        """
        column = f"{ORIGIN_PREFIX}{name}"
        value = self.episodes[index].get(column)
        kind = int if ORIGIN[name] == pa.int64() else str
        if value is not None and not isinstance(value, kind):
            raise self._error(index, column, "a whole number" if kind is int else "text", value)
        return value

    def start_s(self, index: int, key: str) -> float:
        """Return when the first picture of an episode is shown in a camera's video [s].

        Raises:
            DataError: The episode's row does not say it.
        """
        column = f"videos/{key}/from_timestamp"
        value = self.value(index, column)
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self._error(index, column, "a finite number", value)
        return float(value)

    def _error(self, index: int, column: str, expected: str, found: Any) -> DataError:
        return DataError(
            f"{self.root / EPISODES}: {column} of episode {index} must be {expected}, found {found!r}"
        )

    def value(self, index: int, column: str) -> Any:
        """Return a column of an episode's row.

        Raises:
            DataError: It is missing.
        """
        value = self.episodes[index].get(column)
        if value is None:
            raise DataError(f"{self.root / EPISODES}: {column} of episode {index} is missing")
        return value

    def path(self, index: int, template: str | None, group: str, **names: str) -> str:
        """Return the path of the file that holds a part of an episode, relative to the dataset.

        Args:
            index: The episode.
            template: `data_path` or `video_path`.
            group: Under which the table of episodes has its chunk and file, such as "data".
            names: What else the template wants.

        Raises:
            DataError: There is no template, the episode's row lacks chunk or file, or the path leads out of
                the dataset.
        """
        if template is None:
            raise DataError(f"{self.root / INFO}: video_path is missing, and a feature is a video")
        numbers = {}
        for name in NUMBERS:
            column = f"{group}/{name}"
            numbers[name] = self.value(index, column)
            if not isinstance(numbers[name], int):
                raise self._error(index, column, "a whole number", numbers[name])
        found = template.format(**numbers, **names)
        # By the text alone: in a cache of the hub the files themselves are links to another place.
        if PurePosixPath(found).is_absolute() or ".." in PurePosixPath(found).parts:
            raise DataError(
                f"{self.root / INFO}: the path of {group} of episode {index} must stay within the dataset, "
                f"found {found}"
            )
        return found


def _check_features(path: Path, features: Any) -> None:
    """Refuse descriptions of features that the rest could not read."""
    if not isinstance(features, dict):
        raise DataError(f"{path}: features must be a JSON object, found a {type(features).__name__}")
    if not {STATE, ACTION} <= set(features):
        found = ", ".join(sorted(features)) or "none"
        raise DataError(f"{path}: features must hold {STATE} and {ACTION}, found {found}")
    for key, feature in features.items():
        if not isinstance(feature, dict):
            raise DataError(f"{path}: feature {key} must be a JSON object, found {feature!r}")
        if not isinstance(feature.get("dtype"), str):
            raise DataError(f"{path}: dtype of {key} must be a text, found {feature.get('dtype')!r}")
        for part in ("info", "video_info"):
            if not isinstance(feature.get(part) or {}, dict):
                raise DataError(f"{path}: {part} of {key} must be a JSON object, found {feature[part]!r}")
    for key in (STATE, ACTION, *(key for key, _ in EXTRAS.values() if key in features)):
        shape = features[key].get("shape")
        if not isinstance(shape, list) or len(shape) != 1 or not isinstance(shape[0], int) or shape[0] < 1:
            raise DataError(f"{path}: shape of {key} must be one number, found {shape}")


def _check_template(path: Path, key: str, template: Any) -> None:
    """Refuse a template of paths that cannot be filled in; None is the usual one, or no videos."""
    if template is None:
        return
    known = [*NUMBERS, *([VIDEO_KEY] if key == "video_path" else [])]
    try:
        fields = [field for _, *field in Formatter().parse(template) if field[0] is not None]
        fits = all(
            name in known and not conversion and (_WIDTH.fullmatch(spec) if name in NUMBERS else not spec)
            for name, spec, conversion in fields
        )
    except (TypeError, ValueError):  # no text; a brace that is not closed
        fits = False
    if not fits:
        listed = ", ".join(f"{{{name}}}" for name in known)
        raise DataError(f"{path}: {key} must be a path with no fields but {listed}, found {template!r}")


def read_table(path: Path, columns: Sequence[str] | None = None, episode: int | None = None) -> pa.Table:
    """Return a Parquet file's table.

    Args:
        path: The file.
        columns: Columns to read; None for all.
        episode: Read only rows of this `episode_index`.

    Raises:
        DataError: The file is missing, truncated or damaged, or lacks a column.
    """
    try:
        with pq.ParquetFile(path) as file:
            found = file.schema_arrow.names
        for column in [*(columns or ()), *([] if episode is None else ["episode_index"])]:
            if column not in found:
                raise DataError(f"{path}: column {column} is missing, found {', '.join(found)}")
        rows = None if episode is None else [("episode_index", "=", episode)]
        table = pq.read_table(path, columns=None if columns is None else list(columns), filters=rows)
        table.validate(full=True)  # a text that is no UTF-8 would end its reader, whenever that is
        return table
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: of a column's name
        raise DataError(f"{path}: not a whole Parquet file, it is truncated or damaged ({error})") from error
