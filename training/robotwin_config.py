"""RoboTwin as the world of a run: which file describes it, and what must be in order before a run begins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro

from dygro_ros.errors import DataError, UserError, unknown_name
from dygro_ros.layout import JOINT_NAMES
from sim2real.robotwin.seed_book import SeedBook
from sim2real.robotwin.world import RobotwinWorld
from sim2real.robotwin.world_file import COMMAND, read_world
from training.formats.source import EpisodeReference

LIMIT_TOLERANCE_RAD = 0.1
"""So far may recorded joints lie beyond the robot's: drive targets overshoot, another arm bends elsewhere."""


@dataclass(frozen=True)
class RobotwinConfig:
    """Which RoboTwin a run trains in."""

    world: Path | None = None
    """File that measure_world wrote (docs/robotwin.md)."""
    measured: tyro.conf.Suppress[RobotwinWorld | None] = None
    """What the file says: kept with the run, which must not go on in another world."""

    @property
    def known(self) -> RobotwinWorld:
        """The world to train in.

        Raises:
            ValueError: The configuration has not been resolved.
        """
        if self.measured is None:
            raise ValueError("the configuration has no world yet: resolve it first")
        return self.measured

    def read(self) -> RobotwinConfig:
        """Return this with what the file says.

        Raises:
            UserError: No file is named.
            DataError: It is missing or damaged.
        """
        if self.world is None:
            raise UserError(f"--world robotwin needs --robotwin.world, a file that {COMMAND} makes")
        return replace(self, measured=read_world(self.world))


def check_robotwin(world: RobotwinWorld, tasks: Sequence[str], recorded: Path | None) -> None:
    """Check what a run in RoboTwin needs before it begins.

    Raises:
        UserError: There are no recorded demonstrations, or RoboTwin has no such task or configuration.
        DependencyError: A part of RoboTwin is missing.
        DataError: The book of seeds is missing, damaged or of another configuration.
    """
    if recorded is None:
        raise UserError(
            "--world robotwin trains on recorded demonstrations: --recorded.folder must name a dataset, such "
            "as a folder of RoboTwin's HDF5 v1.0 files"
        )
    world.installation.check(world.task_config)
    known = world.installation.tasks()
    for task in tasks:
        if task not in known:
            raise unknown_name("RoboTwin task", task, known, str(world.installation.checkout))
    if world.book is not None:
        SeedBook.read(world.book, world.task_config)


def require_same_robot(world: RobotwinWorld, episodes: Iterable[EpisodeReference]) -> None:
    """Refuse demonstrations of a robot whose joints bend to where the simulated one's cannot.

    RoboTwin's files do not say which robot they are of: aloha-agilex and two Pipers have equal names.

    Raises:
        DataError: A joint lies beyond the limits; names file, frame and joint.
    """
    lower, upper = np.array(world.lower), np.array(world.upper)
    for episode in episodes:
        record = episode.read(cameras=())
        for field, values in (("state", record.proprio), ("action", record.action)):
            beyond = np.maximum(lower - values, values - upper) > LIMIT_TOLERANCE_RAD
            if not beyond.any():
                continue
            frame, joint = np.argwhere(beyond)[0].tolist()
            raise DataError(
                f"{episode}: {field} of {JOINT_NAMES[joint]} must lie in {lower[joint]:.3f} .. "
                f"{upper[joint]:.3f} rad as the robot of {world.task_config} can, found "
                f"{values[frame, joint]:.3f} in frame {frame}: give the data of this robot, or measure the "
                f"world under the task configuration that they were recorded with ({COMMAND})"
            )
