"""The growing files of a LeRobotDataset: rows in Parquet, pictures in MP4, a next file once one is large."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from training.formats.lerobot_layout import DATA_PATH, FILES_PER_CHUNK, VIDEO_PATH
from training.formats.video import VideoWriter


def numbered(template: str, number: int, **names: str) -> str:
    """Return a file's path from its template and its number among all files."""
    chunk, file = divmod(number, FILES_PER_CHUNK)
    return template.format(chunk_index=chunk, file_index=file, **names)


def place(group: str, number: int) -> dict[str, int]:
    """Return what an episode's row says of the file with a number, such as `data/file_index`."""
    chunk, file = divmod(number, FILES_PER_CHUNK)
    return {f"{group}/chunk_index": chunk, f"{group}/file_index": file}


class DataFiles:
    """The rows of all episodes.

    Args:
        root: The dataset's folder.
        limit_mb: A file that has reached this size [MB] is followed by a next one.
    """

    def __init__(self, root: Path, limit_mb: float) -> None:
        self._root = root
        self._limit_mb = limit_mb
        self._number = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> dict[str, int]:
        """Write an episode as one group of rows, so that it is found fast; returns where it lies."""
        path = self._root / numbered(DATA_PATH, self._number)
        if self._writer is not None and _megabytes(path) >= self._limit_mb:
            self.close()
            self._number += 1
            path = self._root / numbered(DATA_PATH, self._number)
        if self._writer is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(path, table.schema, compression="snappy")
        self._writer.write_table(table, row_group_size=table.num_rows)
        return place("data", self._number)

    def close(self) -> None:
        """Finish the file at hand."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class VideoFiles:
    """The pictures of one camera in all episodes, one after the other.

    Args:
        root: The dataset's folder.
        key: The camera's feature.
        rate_hz: Pictures a second.
        limit_mb: A file that has reached this size [MB] is followed by a next one.
    """

    def __init__(self, root: Path, key: str, rate_hz: int, limit_mb: float) -> None:
        self._root = root
        self._key = key
        self._rate_hz = rate_hz
        self._limit_mb = limit_mb
        self._number = 0
        self._writer: VideoWriter | None = None

    def write(self, images: NDArray[np.uint8]) -> dict[str, Any]:
        """Write an episode's pictures, shape (T, H, W, 3); returns where and when they are shown."""
        path = self._root / numbered(VIDEO_PATH, self._number, video_key=self._key)
        if self._writer is not None and _megabytes(path) >= self._limit_mb:
            self.close()
            self._number += 1
            path = self._root / numbered(VIDEO_PATH, self._number, video_key=self._key)
        if self._writer is None:
            height, width = images.shape[1:3]
            self._writer = VideoWriter(path, rate_hz=self._rate_hz, height=height, width=width)
        first = self._writer.pictures
        for picture in images:
            self._writer.add(picture)
        group = f"videos/{self._key}"
        return place(group, self._number) | {
            f"{group}/from_timestamp": first / self._rate_hz,
            f"{group}/to_timestamp": self._writer.pictures / self._rate_hz,
        }

    def close(self) -> None:
        """Finish the file at hand."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _megabytes(path: Path) -> float:
    return path.stat().st_size / 2**20
