"""Bring a dataset into another format: LeRobotDataset v3.0, RoboTwin's HDF5 v1.0 or LIBERO's HDF5.

    python -m training.convert_dataset SOURCE TARGET --format lerobot
    python -m training.convert_dataset SOURCE TARGET --format robotwin --cameras head_camera=top

Columns that have the target's names are brought into its order. What the target's format cannot hold of
an `EpisodeRecord` is left out and named. Statistics for normalisation are stored with the result.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from dygro_ros.errors import DataError, run_main
from dygro_ros.layout import JOINT_NAMES
from training.dataset_statistics import measure, store
from training.episode_record import EpisodeRecord, in_order
from training.formats.detection import HDF5_SUFFIXES, open_dataset
from training.formats.lerobot_writer import LeRobotWriter, PictureStorage
from training.formats.libero import ACTION_NAMES, PROPRIO_NAMES
from training.formats.libero_writer import LiberoFileWriter, LiberoFolderWriter
from training.formats.robotwin import RobotwinFolderWriter, RobotwinSource
from training.formats.source import EpisodeSource, EpisodeWriter
from training.recorded_demonstrations import at_rate, require_rate

Format = Literal["lerobot", "robotwin", "libero"]
# Fields of a record that a format can hold beside what every one holds.
HELD = {
    "lerobot": {
        "executed", "privileged", "joint_states", "simulator_states",
        "task", "seed", "companion", "randomization",
    },
    "robotwin": {"executed", "privileged", "task", "seed", "companion", "randomization"},
    "libero": {"privileged", "joint_states", "simulator_states", "task", "seed"},
}  # fmt: skip
# In a LeRobotDataset every episode has every column, of one size.
COLUMNS = ("executed", "privileged", "joint_states", "simulator_states")


@dataclass(frozen=True)
class ConvertDataset:
    """What to bring where, and how."""

    source: Annotated[Path, tyro.conf.Positional]
    """HDF5 file or folder of RoboTwin or LIBERO, or a LeRobotDataset."""
    target: Annotated[Path, tyro.conf.Positional]
    """Folder to make; LIBERO: or a file that ends in .hdf5, for one task."""
    format: Format
    """The target's format."""
    cameras: tuple[str, ...] = ()
    """Cameras to keep, each NAME or NEW=OLD to rename it; unset: all of them."""
    proprio_names: tuple[str, ...] = ()
    """What the source's columns of proprioception are, where it does not say so itself."""
    action_names: tuple[str, ...] = ()
    """What the source's columns of the action are, likewise."""
    source_rate_hz: float | None = None
    """True rate of the source [Hz], 16.667 for RoboTwin's own files, which say 15; unset: what it says."""
    rate_hz: float | None = None
    """Rate to bring it to [Hz]; unset: as it is. Only where actions are targets, not steps."""
    pictures: PictureStorage = "image"
    """LeRobot: keep pictures as PNG, to the bit, or as H.264 video, far smaller."""
    robot_type: str | None = None
    """LeRobot: what meta/info.json calls the robot."""


def convert(options: ConvertDataset, console: Console) -> EpisodeSource:
    """Convert and return the result.

    Raises:
        UserError: The target exists, an unknown camera, or an option that makes no sense.
        DataError: The source cannot be read, or the target's format cannot hold it.
    """
    for name in ("source_rate_hz", "rate_hz"):
        value = getattr(options, name)
        if value is not None:
            require_rate(f"--{name.replace('_', '-')}", value)
    source = open_dataset(options.source)
    renamed = dict(_camera(text) for text in options.cameras) or {name: name for name in source.cameras}
    source.chosen_cameras(tuple(renamed.values()))
    left_out = what_is_left_out(source, options.format)
    episodes = _prepared(source, options, renamed, left_out)
    with _writer(options) as writer:
        for record in track(episodes, description="converting", total=len(source), console=console):
            writer.add(record)
    result = open_dataset(options.target)
    if options.format != "lerobot":  # whose writer does it
        store(result, measure(result.episodes(cameras=())))
    console.print(f"{len(result)} episodes: {escape(str(options.target))}", soft_wrap=True)
    for name, why in left_out.items():
        console.print(f"left out: {name} ({why})", soft_wrap=True)
    return result


def what_is_left_out(source: EpisodeSource, target: Format) -> dict[str, str]:
    """Return the fields of the source's records that the target cannot hold, each with the reason.

    Raises:
        DataError: An episode cannot be read.
    """
    sizes: dict[str, set[int | None]] = {}
    wordings = 0
    for record in source.episodes(cameras=()):
        wordings = max(wordings, len(record.instructions))
        for field in set().union(*HELD.values()):
            value = getattr(record, field)
            columned = field in COLUMNS and value is not None
            size = value.shape[1] if columned else (None if value is None else 1)
            sizes.setdefault(field, set()).add(size)
    left_out = {}
    for field in (field.name for field in fields(EpisodeRecord) if field.name in sizes):
        if sizes[field] == {None}:
            continue
        if field not in HELD[target]:
            left_out[field] = f"the format {target} does not hold it"
        elif target == "lerobot" and field in COLUMNS and None in sizes[field]:
            left_out[field] = "not every episode has it"
        elif target == "lerobot" and field in COLUMNS and len(sizes[field]) > 1:
            left_out[field] = "its size changes between episodes"
    if target == "libero" and wordings > 1:
        left_out["further instructions"] = "the format libero holds one a task"
    return left_out


def _camera(text: str) -> tuple[str, str]:
    new, equals, old = text.partition("=")
    return (new, old) if equals else (text, text)


def _prepared(
    source: EpisodeSource, options: ConvertDataset, cameras: dict[str, str], left_out: dict[str, str]
) -> Iterator[EpisodeRecord]:
    known = {field.name for field in fields(EpisodeRecord)}
    dropped = dict.fromkeys(name for name in left_out if name in known)
    for index in range(len(source)):
        record = source.read(index, tuple(cameras.values()))
        if isinstance(source, RobotwinSource) and options.source_rate_hz is None:
            source.check_rate(index, record.rate_hz)
        record = _named(source.name(index), replace(record, cameras=tuple(cameras), **dropped), options)
        if options.source_rate_hz is not None:
            record = replace(record, rate_hz=options.source_rate_hz)
        if options.format == "libero":
            record = in_order(record, PROPRIO_NAMES, ACTION_NAMES)
        else:
            record = in_order(record, JOINT_NAMES, JOINT_NAMES)
        yield record if options.rate_hz is None else at_rate(record, options.rate_hz)


def _named(where: str, record: EpisodeRecord, options: ConvertDataset) -> EpisodeRecord:
    for kind in ("proprio", "action"):
        given = getattr(options, f"{kind}_names")
        found = getattr(record, f"{kind}_names")
        if given and len(given) != len(found):
            raise DataError(
                f"{where}: --{kind}-names must be {len(found)} names, for {', '.join(found)}, "
                f"got {len(given)}"
            )
        if given:
            record = replace(record, **{f"{kind}_names": given})
    return record


def _writer(options: ConvertDataset) -> EpisodeWriter:
    if options.format == "lerobot":
        return LeRobotWriter(options.target, pictures=options.pictures, robot_type=options.robot_type)
    if options.format == "robotwin":
        return RobotwinFolderWriter(options.target)
    if options.target.suffix in HDF5_SUFFIXES:
        return LiberoFileWriter(options.target)
    return LiberoFolderWriter(options.target)


def main() -> None:
    """Parse the command line and convert."""
    convert(tyro.cli(ConvertDataset, args=sys.argv[1:], description=__doc__), Console())


if __name__ == "__main__":
    run_main(main)
