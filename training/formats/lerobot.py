"""Reads a LeRobotDataset v3.0 without LeRobot; see `training.formats.lerobot_layout`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from dygro_ros.errors import DataError
from training.episode_record import EpisodeRecord, stack_views
from training.formats.lerobot_layout import ACTION, EXTRAS, ORIGIN, STATE, camera_name
from training.formats.lerobot_metadata import LeRobotMetadata, read_table
from training.formats.source import EpisodeSource
from training.formats.video import read_video


class LeRobotSource(EpisodeSource):
    """A LeRobotDataset v3.0 on disk.

    Args:
        path: Its folder, which holds `meta/info.json`.

    Raises:
        DataError: A part of `meta/` is missing, damaged or of another version.
    """

    format = "lerobot"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata = LeRobotMetadata(path)
        self._camera_keys = {camera_name(key): key for key in self.metadata.camera_keys}
        self.cameras = tuple(self._camera_keys)

    def __len__(self) -> int:
        return len(self.metadata.episodes)

    def name(self, index: int) -> str:
        """Return folder and number."""
        return f"{self.path}: episode {index}"

    def read(self, index: int, cameras: Sequence[str] | None = None) -> EpisodeRecord:
        """Read one episode; see the base class."""
        metadata = self.metadata
        chosen = self.chosen_cameras(cameras)
        keys = [self._camera_keys[camera] for camera in chosen]
        extras = {field: key for field, (key, _) in EXTRAS.items() if key in metadata.features}
        stored = [key for key in keys if metadata.features[key]["dtype"] == "image"]
        table = self._rows(index, [STATE, ACTION, "task_index", "timestamp", *extras.values(), *stored])
        frames = table.num_rows
        views = []
        for key in keys:
            if key in stored:
                views.append(_pictures(self.name(index), key, table[key]))
            else:
                path, start_s = self._video(index, key)
                views.append(read_video(path, start_s, frames, metadata.rate_hz))
        origin: dict[str, Any] = {name: metadata.origin(index, name) for name in ORIGIN}
        return EpisodeRecord(
            instructions=self._instructions(index, table),
            rate_hz=metadata.rate_hz,
            proprio=self._float32(index, STATE, table),
            action=self._float32(index, ACTION, table),
            cameras=chosen,
            images=stack_views(self.name(index), chosen, views, frames),
            proprio_names=metadata.names(STATE),
            action_names=metadata.names(ACTION),
            **{field: self._vectors(index, key, table) for field, key in extras.items()},
            **origin,
        )

    def _rows(self, index: int, columns: list[str]) -> pa.Table:
        """Return one episode's rows of the data file that holds it."""
        path = self.path / self.metadata.path(index, self.metadata.data_path, "data")
        table = read_table(path, columns, episode=index)
        length = int(self.metadata.episodes[index]["length"])
        if table.num_rows != length:
            raise DataError(f"{path}: episode {index} must have {length} rows, found {table.num_rows}")
        at = _numbers(f"{path}: timestamp of episode {index}", table["timestamp"], 1)[:, 0]
        late = np.abs(at.astype(np.float64) - np.arange(length) / self.metadata.rate_hz)
        if late.max() > 0.5 / self.metadata.rate_hz:
            raise DataError(
                f"{path}: timestamp of episode {index} must count up at {self.metadata.rate_hz:g} Hz, "
                f"row {int(late.argmax())} is {late.max():.3g} s off"
            )
        return table

    def _video(self, index: int, key: str) -> tuple[Path, float]:
        """Return the file that holds an episode's pictures, and when the first is shown [s]."""
        template = self.metadata.video_path
        path = self.path / self.metadata.path(index, template, f"videos/{key}", video_key=key)
        return path, self.metadata.start_s(index, key)

    def _instructions(self, index: int, table: pa.Table) -> tuple[str, ...]:
        """Return what was said, frame by frame, then what else the episode's tasks are."""
        places = _numbers(f"{self.name(index)}: task_index", table["task_index"], 1)[:, 0].tolist()
        said = [self.metadata.task(place) for place in places]
        return tuple(dict.fromkeys([*said, *self.metadata.tasks_of(index)]))

    def _vectors(self, index: int, key: str, table: pa.Table) -> NDArray[Any]:
        """Return a column of vectors, shape (T, n), in the type it is stored in."""
        size = int(self.metadata.features[key]["shape"][0])
        return _numbers(f"{self.name(index)}: {key}", table[key], size)

    def _float32(self, index: int, key: str, table: pa.Table) -> NDArray[np.float32]:
        """Return a column of vectors, shape (T, n)."""
        values = self._vectors(index, key, table)
        if np.abs(values).max() > np.finfo(np.float32).max:
            raise DataError(f"{self.name(index)}: {key} holds values too large for float32")
        return values.astype(np.float32)


def _numbers(where: str, stored: pa.ChunkedArray, size: int) -> NDArray[Any]:
    """Return a column of numbers, or of lists of them, shape (T, size), in the type it is stored in."""
    column = stored.combine_chunks()
    flat, fits = column, size == 1
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        fits = all(length == size for length in column.value_lengths().to_pylist())
        flat = column.flatten()
    elif pa.types.is_fixed_size_list(column.type):
        fits = column.type.list_size == size
        flat = column.flatten()
    is_number = pa.types.is_integer(flat.type) or pa.types.is_floating(flat.type)
    if column.null_count or flat.null_count or not is_number or not fits:
        raise DataError(f"{where} must hold {size} number{'s' * (size > 1)} in every row")
    values = np.asarray(flat.to_numpy(zero_copy_only=False))
    if not np.isfinite(values).all():
        raise DataError(f"{where} holds values that are not finite")
    return values.reshape(-1, size)


def _pictures(where: str, key: str, column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """Return the pictures of a column of encoded images, shape (T, H, W, 3)."""
    pictures: list[NDArray[np.uint8]] = []
    for row, stored in enumerate(column.to_pylist()):
        data = stored.get("bytes") if isinstance(stored, dict) else None
        if not isinstance(data, bytes) or not data:
            raise DataError(f"{where}: {key}[{row}] must hold the bytes of a picture, found none")
        try:
            with Image.open(io.BytesIO(data)) as image:
                picture = np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError on some damaged headers
            raise DataError(f"{where}: {key}[{row}] is not a whole picture") from error
        if pictures and picture.shape != pictures[0].shape:
            raise DataError(f"{where}: {key}[{row}] must be {pictures[0].shape} px, found {picture.shape}")
        pictures.append(picture)
    return np.stack(pictures)
