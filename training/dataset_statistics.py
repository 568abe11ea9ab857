"""Normalisation statistics of a dataset: measured once, kept beside it, refused once they are stale.

They belong to names and values of proprioception and action of every episode, of which a fingerprint is
kept. The same demonstrations have the same fingerprint in every format that keeps their bits. They are for
LeRobot and other readers of the dataset: training measures its own (`measured_space`), on actions relative to
the measurement and at the policy's rate, and keeps them with the policy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dygro_ros.errors import DataError
from dygro_ros.whole_file import write_json
from training.episode_record import EpisodeRecord
from training.formats.source import EpisodeSource

# LeRobot's names and choice.
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
MEASURES = ("min", "max", "mean", "std", *QUANTILES)
FILE = "statistics.json"
# In a LeRobotDataset, whose own place for statistics holds no fingerprint.
LEROBOT_FILE = "meta/stats.json"
LEROBOT_FINGERPRINT_FILE = "meta/stats_fingerprint.json"
LEROBOT_KEYS = {"proprio": "observation.state", "action": "action"}

Measures = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class DatasetStatistics:
    """What is measured on all frames of a dataset.

    Attributes:
        fingerprint: Of names and values; "" where LeRobot's own statistics came without one.
        frames: Number of frames.
        proprio: For each of `MEASURES` an array of shape (n,), in the dataset's units.
        action: The same of shape (m,).
    """

    fingerprint: str
    frames: int
    proprio: Measures
    action: Measures


class Fingerprint:
    """SHA-256 of what the statistics are measured on, taken episode by episode."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, record: EpisodeRecord) -> None:
        """Take one episode in."""
        header = [record.proprio_names, record.action_names, len(record.proprio)]
        self._hash.update(json.dumps(header).encode())
        for values in (record.proprio, record.action):
            self._hash.update(np.ascontiguousarray(values, dtype="<f4").tobytes())

    def hexdigest(self) -> str:
        """Return the fingerprint of what was taken in."""
        return self._hash.hexdigest()


def measures(values: ArrayLike) -> Measures:
    """Return `MEASURES` of each column.

    Args:
        values: Shape (N, n).
    """
    table = np.asarray(values, dtype=np.float64)
    found = {"min": table.min(0), "max": table.max(0), "mean": table.mean(0), "std": table.std(0)}
    return found | {name: np.quantile(table, share, axis=0) for name, share in QUANTILES.items()}


def measure(records: Iterable[EpisodeRecord]) -> DatasetStatistics:
    """Measure all episodes of a dataset; pictures are not looked at.

    Raises:
        DataError: There is no episode, or episodes differ in their names.
    """
    fingerprint = Fingerprint()
    proprio, action = [], []
    names: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    for index, record in enumerate(records):
        found = (record.proprio_names, record.action_names)
        if names is not None and found != names:
            raise DataError(
                f"episode {index}: names of proprio and action must be the first episode's, "
                f"{', '.join(names[0])} and {', '.join(names[1])}, found {', '.join(found[0])} "
                f"and {', '.join(found[1])}"
            )
        names = found
        fingerprint.add(record)
        proprio.append(record.proprio)
        action.append(record.action)
    if not proprio:
        raise DataError("statistics need at least one episode, found none")
    states = np.concatenate(proprio)
    return DatasetStatistics(
        fingerprint.hexdigest(), len(states), measures(states), measures(np.concatenate(action))
    )


def statistics_path(source: EpisodeSource) -> Path:
    """Return where a dataset's statistics lie."""
    if source.format == "lerobot":
        return source.path / LEROBOT_FILE
    if source.path.is_dir():
        return source.path / FILE
    return source.path.with_name(f"{source.path.name}.{FILE}")


def store(source: EpisodeSource, statistics: DatasetStatistics) -> Path:
    """Write the statistics beside the data, in place of older ones; returns the file."""
    path = statistics_path(source)
    if source.format == "lerobot":
        content = _json(path) if path.exists() else {}
        for name, key in LEROBOT_KEYS.items():
            found = {measure: values.tolist() for measure, values in getattr(statistics, name).items()}
            content[key] = found | {"count": [statistics.frames]}
        write_json(path, content)
        write_json(source.path / LEROBOT_FINGERPRINT_FILE, {"fingerprint": statistics.fingerprint})
        return path
    content = {"fingerprint": statistics.fingerprint, "frames": statistics.frames}
    for name in LEROBOT_KEYS:
        content[name] = {key: values.tolist() for key, values in getattr(statistics, name).items()}
    write_json(path, content)
    return path


def load(source: EpisodeSource, records: Iterable[EpisodeRecord] | None = None) -> DatasetStatistics:
    """Return the stored statistics, once it is sure that they are this data's.

    Args:
        source: The dataset.
        records: Its episodes if they have been read already; pictures are not needed.

    Raises:
        DataError: There are none, they are damaged, or the data have changed since; names the command.
    """
    path = statistics_path(source)
    remedy = f"python -m training.dataset_info {source.path} --store-statistics"
    if not path.exists():
        raise DataError(f"{path}: no statistics have been stored: {remedy}")
    stored = _stored(source, path, remedy)
    fresh = measure(source.episodes(cameras=()) if records is None else records)
    if stored.fingerprint:
        same = stored.fingerprint == fresh.fingerprint
    else:  # written by LeRobot, which keeps no fingerprint: extremes and counts must be this data's
        pairs = [
            (getattr(stored, name)[key], getattr(fresh, name)[key])
            for name in LEROBOT_KEYS
            for key in ("min", "max")
        ]
        same = stored.frames == fresh.frames and all(
            kept.shape == found.shape and np.allclose(kept, found, rtol=1e-5, atol=1e-6)
            for kept, found in pairs
        )
    if not same:
        raise DataError(
            f"{path}: statistics are stale, the data have changed since they were measured: {remedy}"
        )
    return stored


def _stored(source: EpisodeSource, path: Path, remedy: str) -> DatasetStatistics:
    content = _json(path)
    lerobot = source.format == "lerobot"
    try:
        found = {name: _measures_of(content[key if lerobot else name]) for name, key in LEROBOT_KEYS.items()}
        frames = int(content["action"]["count"][0]) if lerobot else int(content["frames"])
        fingerprint = "" if lerobot else str(content["fingerprint"])
        beside = source.path / LEROBOT_FINGERPRINT_FILE
        if lerobot and beside.exists():
            fingerprint = str(_json(beside)["fingerprint"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not statistics of a dataset ({error!r}): {remedy}") from error
    return DatasetStatistics(fingerprint, frames, found["proprio"], found["action"])


def _measures_of(stored: Mapping[str, Any]) -> Measures:
    return {name: np.atleast_1d(np.asarray(stored[name], dtype=np.float64)) for name in MEASURES}


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: must hold a JSON object, found {type(content).__name__}")
    return content
