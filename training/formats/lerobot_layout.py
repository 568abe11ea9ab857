"""How a LeRobotDataset v3.0 lies on disk: paths, features, and the tables of its tasks and episodes.

Source: `lerobot/datasets/{dataset_metadata,feature_utils,utils}.py` of lerobot 0.6.1. Nothing of lerobot is
imported: its files are JSON, Parquet and MP4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

VERSION = "v3.0"
MAJOR = "v3."
INFO = "meta/info.json"
TASKS = "meta/tasks.parquet"
EPISODES = "meta/episodes"
CHUNK_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
EPISODES_PATH = f"{EPISODES}/{CHUNK_FILE}.parquet"
DATA_PATH = f"data/{CHUNK_FILE}.parquet"
VIDEO_PATH = f"videos/{{video_key}}/{CHUNK_FILE}.mp4"
FILES_PER_CHUNK = 1000
DATA_FILE_MB = 100
VIDEO_FILE_MB = 200

STATE, ACTION, IMAGES = "observation.state", "action", "observation.images."
# What else a record may hold. No prefix `observation.` or `action`: LeRobot would feed it to policies.
EXTRAS = {
    "executed": ("executed_action", "float32"),
    "privileged": ("privileged_state", "float32"),
    "joint_states": ("joint_states", "float64"),
    "simulator_states": ("simulator_state", "float64"),
}
# Columns of the table of episodes that say where an episode of ours came from; LeRobot passes over them.
ORIGIN = {
    "task": pa.string(),
    "seed": pa.int64(),
    "companion": pa.string(),
    "randomization": pa.string(),
}
ORIGIN_PREFIX = "simulator/"
INDEX_FEATURES = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


def vector_feature(size: int, dtype: str = "float32", names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the description of a feature of shape (size,)."""
    return {"dtype": dtype, "shape": [size], "names": None if names is None else list(names)}


def picture_feature(height: int, width: int, dtype: str) -> dict[str, Any]:
    """Return the description of a camera; dtype "image" (in the table) or "video" (a file of its own)."""
    return {"dtype": dtype, "shape": [height, width, 3], "names": ["height", "width", "channels"]}


def arrow_type(feature: Mapping[str, Any]) -> pa.DataType:
    """Return the type of a feature's column."""
    if feature["dtype"] == "image":
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    value = {"float32": pa.float32(), "float64": pa.float64(), "int64": pa.int64()}[feature["dtype"]]
    size = feature["shape"][0]
    return value if size == 1 else pa.list_(value, size)


def tasks_table(tasks: Sequence[str]) -> pa.Table:
    """Return the table of tasks: LeRobot reads it by pandas, with the texts as index."""
    table = pa.table(
        {"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())}
    )
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": stored, "metadata": None}
        for name, kind, stored in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.3.3"}
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def column_names(feature: Mapping[str, Any], fallback: str) -> tuple[str, ...]:
    """Return what a vector feature's columns are called.

    Datasets say it as a list, as lists under headings (`{"motors": [...]}`), as positions
    (`{"x": 0, "y": 1}`), or not at all; then, and where their number does not fit, the names are
    `<fallback>_0`, `<fallback>_1`, ... A name that comes twice gets its position behind it.
    """
    size, names = int(feature["shape"][0]), feature.get("names")
    found: list[str] = []
    if isinstance(names, dict) and all(isinstance(place, int) for place in names.values()):
        found = sorted(names, key=lambda name: names[name])
    elif isinstance(names, dict) and all(isinstance(part, list) for part in names.values()):
        found = [str(name) for part in names.values() for name in part]
    elif isinstance(names, list) and all(isinstance(name, str) for name in names):
        found = list(names)
    if len(found) != size:
        return tuple(f"{fallback}_{index}" for index in range(size))
    return tuple(name if found.count(name) == 1 else f"{name}_{index}" for index, name in enumerate(found))


def camera_name(key: str) -> str:
    """Return our name of a camera: the feature's without its heading."""
    return key.removeprefix(IMAGES).removeprefix("observation.")


def is_depth(feature: Mapping[str, Any]) -> bool:
    """Return whether a camera measures distances."""
    info = {**(feature.get("video_info") or {}), **(feature.get("info") or {})}
    return bool(info.get("is_depth_map") or info.get("video.is_depth_map"))


def video_info(height: int, width: int, rate_hz: int) -> dict[str, Any]:
    """Return what LeRobot keeps of a camera's videos: our writer's H.264."""
    return {
        "video.height": height,
        "video.width": width,
        "video.codec": "h264",
        "video.pix_fmt": "yuv420p",
        "video.is_depth_map": False,
        "video.fps": rate_hz,
        "video.channels": 3,
        "has_audio": False,
    }
