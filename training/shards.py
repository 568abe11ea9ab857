"""Episodes on disk: one file an iteration, written beside and renamed, so that buffers need no checkpoint.

A resumed run adds the shards up to its iteration in order and has the same buffers as before.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dygro_ros.errors import CheckpointError
from training.episodes import ARRAY_FIELDS, Episode

_SCALARS = ("task", "seed", "success", "steps", "online")


def shard_path(folder: Path, iteration: int) -> Path:
    """Return the file of one iteration's episodes; iteration 0 is the warm-up."""
    return folder / f"episodes_{iteration:06d}.npz"


def save_episodes(path: Path, episodes: Sequence[Episode]) -> None:
    """Write episodes, uncompressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.concatenate([getattr(episode, name) for episode in episodes]) for name in ARRAY_FIELDS}
    arrays |= {name: np.asarray([getattr(episode, name) for episode in episodes]) for name in _SCALARS}
    arrays["chunks"] = np.asarray([episode.chunks for episode in episodes])
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)
    os.replace(temporary, path)


def load_episodes(path: Path) -> list[Episode]:
    """Read episodes.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    try:
        # numpy leaves a file that it opened itself open when it turns out to be damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    # EOFError is numpy's for an empty file.
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"cannot read the episodes in {path}: {error}") from error
    missing = {*ARRAY_FIELDS, *_SCALARS, "chunks"} - arrays.keys()
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(sorted(missing))}")
    bounds = np.concatenate([[0], np.cumsum(arrays["chunks"])])
    return [
        Episode(
            task=int(arrays["task"][index]),
            seed=int(arrays["seed"][index]),
            success=bool(arrays["success"][index]),
            steps=int(arrays["steps"][index]),
            online=bool(arrays["online"][index]),
            **{name: arrays[name][bounds[index] : bounds[index + 1]] for name in ARRAY_FIELDS},
        )
        for index in range(len(arrays["chunks"]))
    ]
