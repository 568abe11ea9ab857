"""Writes a LeRobotDataset v3.0 without LeRobot; see `training.formats.lerobot_layout`."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from dygro_ros.errors import DataError, UserError
from dygro_ros.whole_file import write_json
from training.dataset_statistics import (
    LEROBOT_FILE,
    LEROBOT_FINGERPRINT_FILE,
    Fingerprint,
    measures,
)
from training.episode_record import EpisodeRecord
from training.formats import lerobot_layout as layout
from training.formats.lerobot_files import DataFiles, VideoFiles, numbered, place
from training.formats.lerobot_layout import (
    ACTION,
    EXTRAS,
    IMAGES,
    INDEX_FEATURES,
    ORIGIN,
    ORIGIN_PREFIX,
    STATE,
)
from training.formats.picture_statistics import PictureStatistics

PictureStorage = Literal["image", "video"]


class LeRobotWriter:
    """Writes a dataset episode by episode; its folder is in its place once it is whole.

    Args:
        folder: Where it goes; nothing may be there.
        pictures: "image" keeps them to the bit, as PNG in the tables; "video" as H.264, far smaller.
        robot_type: What `meta/info.json` calls the robot.
        data_file_mb: A data file that has reached this size [MB] is followed by a next one.
        video_file_mb: The same for videos.

    Raises:
        UserError: The folder exists.
    """

    def __init__(
        self,
        folder: Path,
        *,
        pictures: PictureStorage = "image",
        robot_type: str | None = None,
        data_file_mb: float = layout.DATA_FILE_MB,
        video_file_mb: float = layout.VIDEO_FILE_MB,
    ) -> None:
        if folder.exists():
            raise UserError(f"{folder} exists: name another target, or remove it")
        self.folder = folder
        self._beside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        self._pictures = pictures
        self._robot_type = robot_type
        self._features: dict[str, dict[str, Any]] = {}
        self._rate_hz = 0.0
        self._tasks: dict[str, int] = {}
        self._rows: list[dict[str, Any]] = []
        self._vectors: dict[str, list[NDArray[Any]]] = {}
        self._picture_statistics: dict[str, PictureStatistics] = {}
        self._fingerprint = Fingerprint()
        self._data = DataFiles(self._beside, data_file_mb)
        self._video_file_mb = video_file_mb
        self._videos: dict[str, VideoFiles] = {}
        self._frames = 0

    def __enter__(self) -> LeRobotWriter:
        """Begin."""
        self._beside.mkdir(parents=True)
        return self

    def add(self, record: EpisodeRecord) -> None:
        """Write one episode.

        Raises:
            DataError: Its rate is no whole number, its pictures do not fit H.264, or features or rate are
                not those of the first episode.
        """
        features = self._features_of(record)
        where = f"{self.folder}: episode {len(self._rows)}"
        if not self._rows:
            if record.rate_hz != round(record.rate_hz):
                raise DataError(
                    f"{where}: the format holds whole rates only, found {record.rate_hz:g} Hz: "
                    "bring it to one by --rate-hz 25"
                )
            self._features, self._rate_hz = features, record.rate_hz
        if features != self._features or record.rate_hz != self._rate_hz:
            keys = {**features, **self._features}
            changed = [key for key in keys if features.get(key) != self._features.get(key)]
            raise DataError(
                f"{where}: must have the first episode's rate and features, "
                f"found {record.rate_hz:g} Hz and others in {', '.join(changed) or 'none'}"
            )
        row = self._write_rows(record)
        for view, camera in enumerate(record.cameras):
            images = record.images[:, view]
            self._picture_statistics.setdefault(camera, PictureStatistics()).add(images)
            if self._pictures == "video":
                if camera not in self._videos:
                    self._videos[camera] = VideoFiles(
                        self._beside, f"{IMAGES}{camera}", round(self._rate_hz), self._video_file_mb
                    )
                row |= self._videos[camera].write(images)
        self._fingerprint.add(record)
        self._rows.append(row)
        self._frames += len(record.proprio)

    def _features_of(self, record: EpisodeRecord) -> dict[str, dict[str, Any]]:
        found = {
            STATE: layout.vector_feature(len(record.proprio_names), names=record.proprio_names),
            ACTION: layout.vector_feature(len(record.action_names), names=record.action_names),
        }
        for camera in record.cameras:
            height, width = record.images.shape[2:4]
            found[f"{IMAGES}{camera}"] = layout.picture_feature(height, width, self._pictures)
        for field, (key, dtype) in EXTRAS.items():
            values = getattr(record, field)
            if values is not None:
                found[key] = layout.vector_feature(values.shape[1], dtype)
        return found | {key: layout.vector_feature(1, dtype) for key, dtype in INDEX_FEATURES.items()}

    def _write_rows(self, record: EpisodeRecord) -> dict[str, Any]:
        """Write an episode's rows of the data file; returns its row of the table of episodes."""
        frames, index = len(record.proprio), len(self._rows)
        for text in record.instructions:
            self._tasks.setdefault(text, len(self._tasks))
        count = np.arange(frames)
        columns: dict[str, NDArray[Any]] = {
            STATE: record.proprio,
            ACTION: record.action,
            "timestamp": (count / record.rate_hz)[:, None],
            "frame_index": count[:, None],
            "episode_index": np.full((frames, 1), index),
            "index": (self._frames + count)[:, None],
            "task_index": np.full((frames, 1), self._tasks[record.instructions[0]]),
        }
        held = {field: key for field, (key, _) in EXTRAS.items() if key in self._features}
        columns |= {key: getattr(record, field) for field, key in held.items()}
        for key, values in columns.items():
            self._vectors.setdefault(key, []).append(values)
        arrays = {}
        for key, feature in self._features.items():
            if key in columns:
                arrays[key] = _vector_array(columns[key], layout.arrow_type(feature))
            elif feature["dtype"] == "image":
                images = record.images[:, record.cameras.index(key.removeprefix(IMAGES))]
                arrays[key] = _picture_array(images, layout.arrow_type(feature))
        file = self._data.write(pa.table(arrays))
        origin = {f"{ORIGIN_PREFIX}{name}": getattr(record, name) for name in ORIGIN}
        return {
            "episode_index": index,
            "tasks": list(record.instructions),
            "length": frames,
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + frames,
            **file,
            **place("meta/episodes", 0),
            **origin,
        }

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the dataset in its place, or take away what was written if an error ended it."""
        try:
            self._data.close()
            for video in self._videos.values():
                video.close()
            if kind is None:
                if not self._rows:
                    raise DataError(f"{self.folder}: a dataset holds at least one episode, got none")
                self._write_metadata()
                os.replace(self._beside, self.folder)
        finally:
            shutil.rmtree(self._beside, ignore_errors=True)

    def _write_metadata(self) -> None:
        episodes = self._beside / numbered(layout.EPISODES_PATH, 0)
        episodes.parent.mkdir(parents=True)
        types = {f"{ORIGIN_PREFIX}{name}": kind for name, kind in ORIGIN.items()}
        arrays = {}
        for key in self._rows[0]:
            values = [row[key] for row in self._rows]
            if any(value is not None for value in values):
                arrays[key] = pa.array(values, types.get(key))
        pq.write_table(pa.table(arrays), episodes)
        pq.write_table(layout.tasks_table(list(self._tasks)), self._beside / layout.TASKS)
        write_json(self._beside / layout.INFO, self._info())
        statistics: dict[str, Any] = {}
        for key, parts in self._vectors.items():
            values = np.concatenate(parts)
            found = {name: value.tolist() for name, value in measures(values).items()}
            statistics[key] = found | {"count": [len(values)]}
        for camera, pictures in self._picture_statistics.items():
            statistics[f"{IMAGES}{camera}"] = pictures.measures()
        write_json(self._beside / LEROBOT_FILE, statistics)
        fingerprint = {"fingerprint": self._fingerprint.hexdigest()}
        write_json(self._beside / LEROBOT_FINGERPRINT_FILE, fingerprint)

    def _info(self) -> dict[str, Any]:
        features = {}
        for key, feature in self._features.items():
            features[key] = dict(feature)
            if feature["dtype"] == "video":
                features[key]["info"] = layout.video_info(*feature["shape"][:2], round(self._rate_hz))
        return {
            "codebase_version": layout.VERSION,
            "robot_type": self._robot_type,
            "fps": round(self._rate_hz),
            "total_episodes": len(self._rows),
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": layout.FILES_PER_CHUNK,
            "data_files_size_in_mb": layout.DATA_FILE_MB,
            "video_files_size_in_mb": layout.VIDEO_FILE_MB,
            "splits": {"train": f"0:{len(self._rows)}"},
            "data_path": layout.DATA_PATH,
            "video_path": layout.VIDEO_PATH if self._pictures == "video" else None,
            "features": features,
        }


def _vector_array(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(values[:, 0], kind)
    flat = pa.array(np.ascontiguousarray(values).ravel(), kind.value_type)
    return pa.FixedSizeListArray.from_arrays(flat, kind.list_size)


def _picture_array(images: NDArray[np.uint8], kind: pa.DataType) -> pa.Array:
    rows = []
    for index, image in enumerate(images):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        rows.append({"bytes": buffer.getvalue(), "path": f"frame-{index:06d}.png"})
    return pa.array(rows, kind)
