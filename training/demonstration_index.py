"""What a collection of demonstrations holds: `index.json`, written and read.

Knows names and seeds of episodes; knows neither how they are made nor what is in them.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dygro_ros.errors import DataError
from training.typed_json import dataclass_of

INDEX_NAME = "index.json"
INDEX_VERSION = 1


@dataclass
class Stream:
    """The episodes of one task, with or without a companion; grows while they are collected.

    Attributes:
        task: Instructed task.
        companion: Task whose objects stand beside, or None.
        seeds: Seeds of `episode0.hdf5`, `episode1.hdf5`, ..., ascending.
        steps: Their numbers of frames.
        skipped: Seeds on which the expert failed.
    """

    task: str
    companion: str | None
    seeds: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Return the name of the stream's folder."""
        return self.task if self.companion is None else f"{self.task}+{self.companion}"

    def first(self, count: int) -> Stream:
        """Return the stream as it was when it held `count` episodes."""
        if len(self.seeds) <= count:
            return self
        bound = self.seeds[count - 1] if count else -1
        skipped = [seed for seed in self.skipped if seed < bound]
        return replace(self, seeds=self.seeds[:count], steps=self.steps[:count], skipped=skipped)


@dataclass(frozen=True)
class DemonstrationIndex:
    """What a collection holds.

    Attributes:
        folder: The collection's folder.
        settings: What every episode was made with, by name.
        streams: One for each task and each task with companion.
    """

    folder: Path
    settings: dict[str, Any]
    streams: list[Stream]

    def paths(self, stream: Stream) -> list[Path]:
        """Return a stream's episode files in order."""
        return [self.folder / stream.name / f"episode{i}.hdf5" for i in range(len(stream.seeds))]

    def all_paths(self) -> list[Path]:
        """Return the episode files of every stream, in the order of the streams."""
        return [path for stream in self.streams for path in self.paths(stream)]

    def save(self) -> None:
        """Write `index.json` beside, then rename."""
        beside = self.folder / f".{INDEX_NAME}.part"
        content = {
            "version": INDEX_VERSION,
            "settings": self.settings,
            "streams": [asdict(stream) for stream in self.streams],
        }
        beside.write_text(json.dumps(content) + "\n", encoding="utf-8")
        os.replace(beside, self.folder / INDEX_NAME)


def read_index(folder: Path) -> DemonstrationIndex:
    """Read a collection's index.

    Raises:
        DataError: It is missing or damaged, or an episode file that it lists is not there.
    """
    path = folder / INDEX_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version, settings = content["version"], dict(content["settings"])
        streams = [dataclass_of(Stream, stream) for stream in content["streams"]]
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file, {folder} holds no collection of demonstrations") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not an index of demonstrations ({error!r})") from error
    if version != INDEX_VERSION:
        raise DataError(f"{path}: version must be {INDEX_VERSION}, found {version}")
    index = DemonstrationIndex(folder, settings, streams)
    for stream in streams:
        if len(stream.seeds) != len(stream.steps):
            raise DataError(
                f"{path}: {stream.name} must have as many steps as seeds, "
                f"found {len(stream.steps)} and {len(stream.seeds)}"
            )
        for episode in index.paths(stream):
            if not episode.is_file():
                raise DataError(f"{path}: lists {episode.relative_to(folder)}, which is not there")
    return index
