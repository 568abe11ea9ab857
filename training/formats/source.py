"""What every format offers once it is open: so many episodes, each read into an `EpisodeRecord`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from dygro_ros.errors import UserError, unknown_name
from training.episode_record import EpisodeRecord


class EpisodeSource(ABC):
    """A dataset on disk, whatever its format.

    Attributes:
        format: "robotwin", "libero" or "lerobot".
        path: The folder or file that was opened.
        cameras: Names of its cameras.
    """

    format: str
    path: Path
    cameras: tuple[str, ...]

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of episodes."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Return how messages name an episode."""

    @abstractmethod
    def read(self, index: int, cameras: Sequence[str] | None = None) -> EpisodeRecord:
        """Read one episode.

        Args:
            index: Which, from 0.
            cameras: Cameras to decode, in this order; None for all, () for none.

        Raises:
            DataError: A file is missing, truncated, damaged or of another shape; names file and field.
            UserError: An unknown camera.
        """

    def episodes(self, cameras: Sequence[str] | None = None) -> Iterator[EpisodeRecord]:
        """Read all episodes one after the other; see `read`."""
        for index in range(len(self)):
            yield self.read(index, cameras)

    def chosen_cameras(self, cameras: Sequence[str] | None) -> tuple[str, ...]:
        """Return the cameras asked for.

        Raises:
            UserError: An unknown camera, or the data have none.
        """
        for camera in cameras or ():
            if camera not in self.cameras:
                if not self.cameras:
                    raise UserError(f"unknown camera {camera!r} in {self.path}: the data have no camera")
                raise unknown_name("camera", camera, self.cameras, str(self.path))
        return self.cameras if cameras is None else tuple(cameras)


class EpisodeWriter(Protocol):
    """Writes a dataset; nothing lies at its place before it is whole."""

    def __enter__(self) -> EpisodeWriter:
        """Begin."""

    def add(self, record: EpisodeRecord) -> None:
        """Write one episode after the others.

        Raises:
            DataError: The format cannot hold this record, or it does not fit to the ones before.
        """

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the dataset in its place, or take away what was written if an error ended it."""


@dataclass(frozen=True)
class EpisodeReference:
    """One episode of an open dataset, not read yet."""

    source: EpisodeSource
    index: int

    def __str__(self) -> str:
        return self.source.name(self.index)

    def read(self, cameras: Sequence[str] | None = None) -> EpisodeRecord:
        """Read it; see `EpisodeSource.read`."""
        return self.source.read(self.index, cameras)
