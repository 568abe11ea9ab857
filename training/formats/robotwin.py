"""A folder of RoboTwin's HDF5 v1.0 episodes, ours or RoboTwin's own; see `training.episode_file`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from dygro_ros.errors import DataError, UserError
from dygro_ros.layout import JOINT_NAMES
from training.episode_file import CAMERA_GROUPS, read_episode, write_episode
from training.episode_record import EpisodeRecord, require_names
from training.formats.source import EpisodeSource
from training.hdf5_fields import open_hdf5

# In RoboTwin's own files `additional_info/frequency` counts physics steps of 4 ms between two frames.
STEPS_FOR_A_RATE = 15


class RobotwinSource(EpisodeSource):
    """RoboTwin's HDF5 files, one an episode.

    Args:
        path: What was opened.
        files: The files, in order.
    """

    format = "robotwin"

    def __init__(self, path: Path, files: Sequence[Path]) -> None:
        self.path = path
        self._files = list(files)
        self.cameras = next((seen for file in self._files if (seen := _cameras(file))), ())

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """Return the file."""
        return str(self._files[index])

    def read(self, index: int, cameras: Sequence[str] | None = None) -> EpisodeRecord:
        """Read one episode at the rate that its file says; see the base class."""
        chosen = self.chosen_cameras(cameras)
        return read_episode(self._files[index], cameras=chosen, expected_rate_hz=None)

    def check_rate(self, index: int, rate_hz: float) -> None:
        """Check that an episode's rate is one; a file of ours, which has a group `simulator`, says the truth.

        Args:
            index: The episode.
            rate_hz: What it says [Hz].

        Raises:
            DataError: It is RoboTwin's number of physics steps between frames.
        """
        if rate_hz != STEPS_FOR_A_RATE:
            return
        with open_hdf5(self._files[index]) as file:
            if "simulator" in file:
                return
        raise DataError(
            f"{self.name(index)}: says {STEPS_FOR_A_RATE} Hz, which in RoboTwin's own files is the number of "
            "physics steps between frames: say the true rate by --source-rate-hz, 16.667 for them, and bring "
            "them to a whole one by --rate-hz 25"
        )


def _cameras(path: Path) -> tuple[str, ...]:
    """Return the cameras in a file; of one that cannot be read, none: reading its episode says why."""
    try:
        with open_hdf5(path) as file:
            return tuple(name for name, group in CAMERA_GROUPS.items() if f"vision/{group}/colors" in file)
    except DataError:
        return ()


class RobotwinFolderWriter:
    """Writes a folder of such episodes.

    Args:
        folder: Where they go; nothing may be there.

    Raises:
        UserError: The folder exists.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists():
            raise UserError(f"{folder} exists: name another target, or remove it")
        self.folder = folder
        self._beside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        self._count = 0

    def __enter__(self) -> RobotwinFolderWriter:
        """Begin."""
        self._beside.mkdir(parents=True)
        return self

    def add(self, record: EpisodeRecord) -> None:
        """Write one episode.

        Raises:
            DataError: It is of another robot, holds a camera that the layout does not know, or a rate that
                is no whole number, which is all that the layout can hold.
        """
        path = self._beside / f"episode_{self._count:07d}.hdf5"
        where = f"{self.folder}: episode {self._count}"
        require_names(where, record, JOINT_NAMES, JOINT_NAMES)
        for camera in record.cameras:
            if camera not in CAMERA_GROUPS:
                raise DataError(
                    f"{where}: cameras of RoboTwin are {', '.join(CAMERA_GROUPS)}, found {camera}: "
                    f"choose and rename by --cameras, such as head_camera={camera}"
                )
        if record.rate_hz != round(record.rate_hz):
            raise DataError(
                f"{where}: the format holds whole rates only, found {record.rate_hz:g} Hz: "
                "bring it to one by --rate-hz 25"
            )
        write_episode(path, record)
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the folder in its place, or take it away if an error came."""
        if kind is None:
            os.replace(self._beside, self.folder)
        else:
            shutil.rmtree(self._beside)
