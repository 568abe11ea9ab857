"""Opens a dataset whatever its format: a look at what lies there tells which one it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py

from dygro_ros.errors import DataError, UserError
from training.formats.lerobot import LeRobotSource
from training.formats.libero import LiberoSource
from training.formats.robotwin import RobotwinSource
from training.formats.source import EpisodeSource
from training.hdf5_fields import open_hdf5

HDF5_SUFFIXES = (".hdf5", ".h5")
EXPECTED = (
    "expected RoboTwin's HDF5 v1.0 (groups state, action, vision), LIBERO's HDF5 (data/demo_0) "
    "or a LeRobotDataset v3.0 (folder with meta/info.json)"
)


def open_dataset(path: Path) -> EpisodeSource:
    """Return the dataset that lies at a folder or in a file.

    Raises:
        UserError: Nothing lies there.
        DataError: It is no format that is known, or damaged, or of a wrong version.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; {EXPECTED}")
    if path.is_file() and path.suffix not in HDF5_SUFFIXES:
        raise DataError(f"{path}: is not an HDF5 file by its name; {EXPECTED}")
    if path.is_file():
        files = [path]
    elif any((path / part).exists() for part in ("meta", "data/chunk-000")):
        return LeRobotSource(path)
    else:
        found = sorted(file for suffix in HDF5_SUFFIXES for file in path.glob(f"**/*{suffix}"))
        # A dot begins the name of what is not finished, such as the tries of a collection that was killed.
        files = [file for file in found if not any(p.startswith(".") for p in file.relative_to(path).parts)]
    if not files:
        raise DataError(f"{path}: holds no dataset: {EXPECTED}")
    return LiberoSource(path, files) if _are_liberos(files) else RobotwinSource(path, files)


def _are_liberos(files: Sequence[Path]) -> bool:
    """Return whether HDF5 files are LIBERO's and not RoboTwin's, as the first of them that can be read is."""
    failures = []
    for file in files:
        try:
            return _is_libero(file)
        except DataError as error:
            failures.append(error)
    raise failures[0]


def _is_libero(path: Path) -> bool:
    with open_hdf5(path) as file:
        if isinstance(file.get("data"), h5py.Group):
            return True
        if "state" in file or "data_format_version" in file:
            return False
        found = ", ".join(sorted(file)) or "nothing"
    if "joint_action" in found:
        raise DataError(
            f"{path}: holds RoboTwin's raw recording ({found}): convert it to HDF5 v1.0 with RoboTwin's own "
            "converter"
        )
    raise DataError(f"{path}: holds {found}; {EXPECTED}")
