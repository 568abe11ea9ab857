"""What a recorded trial tells about a robot: its pictures' looks, and how its arms follow commands.

The same numbers are taken of the simulated cell: of its pictures under many random draws, and of its arms
when they are given the very commands that the robot was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import DataError
from dygro_ros.evaluation.recording import COMMANDED, IMAGES, LATENCY, MEASURED, messages, stamp_ns_of
from dygro_ros.layout import CONTROL_RATE_HZ, JOINT_NAMES
from dygro_ros.picture import picture_from
from sim2real.cell.randomization import RandomizationConfig
from sim2real.cell.work_cell import WorkCell
from sim2real.sim_robot import PERIOD_S, PHYSICS_STEPS

Array = NDArray[np.float64]

PICTURE_MEASURES = ("brightness", "red share", "blue share", "contrast", "sharpness")
# Columns of the arms' joints among the 14: without the grippers, whose objects keep them from following.
ARM_COLUMNS = [index for index, name in enumerate(JOINT_NAMES) if not name.endswith("gripper")]
# Delays are looked for up to this, in steps of this [s].
LONGEST_DELAY_S, DELAY_STEP_S = 0.6, 0.002
# A trial whose arms moved less tells nothing of how they follow [rad].
LEAST_MOTION = 0.1


@dataclass(frozen=True)
class Motion:
    """What was commanded and what was measured, each on its own times."""

    commanded_s: Array
    """(n,) [s]."""
    commanded: Array
    """(n, 14) joint units."""
    measured_s: Array
    """(m,) [s], on the same clock."""
    measured: Array
    """(m, 14)."""


@dataclass(frozen=True)
class RecordedTrial:
    """One recording."""

    picture: NDArray[np.uint8]
    """The first that the policy was given, of its first camera, (H, W, 3) RGB."""
    motion: Motion
    answer_s: float
    """Age of a picture when its chunk was ready, median [s]."""


def read_trial(path: Path) -> RecordedTrial:
    """Read what a recording holds of pictures and motion.

    Raises:
        DataError: It is no recording, is not whole, or lacks pictures, motion or latencies.
    """
    picture: NDArray[np.uint8] | None = None
    commanded: list[tuple[float, Array]] = []
    measured: list[tuple[float, Array]] = []
    ages_s: list[float] = []
    for topic, message in messages(path, (IMAGES, COMMANDED, MEASURED, LATENCY)):
        if topic == LATENCY:
            ages_s.append(float(message.data[0]))
        elif topic == IMAGES:
            if picture is None:
                picture = picture_from(
                    message.encoding, message.height, message.width, message.step, message.data
                ).copy()
        else:
            entry = (stamp_ns_of(message) * 1e-9, np.array(message.position, np.float64))
            (commanded if topic == COMMANDED else measured).append(entry)
    missing = [
        name
        for name, found in (
            ("picture", picture is not None),
            ("command", len(commanded) > 1),
            ("joint state", len(measured) > 1),
            ("latency", ages_s),
        )
        if not found
    ]
    if missing or picture is None:
        raise DataError(f"{path} holds no {', no '.join(missing)}: was the policy running?")
    return RecordedTrial(picture, motion_of(commanded, measured), float(np.median(ages_s)))


def motion_of(commanded: Sequence[tuple[float, Array]], measured: Sequence[tuple[float, Array]]) -> Motion:
    """Return entries of (time [s], joints (14,)) as a motion, its time beginning at 0."""
    times = [np.array([time_s for time_s, _ in entries]) for entries in (commanded, measured)]
    zero_s = min(times[0][0], times[1][0])
    values = [np.stack([joints for _, joints in entries]) for entries in (commanded, measured)]
    return Motion(times[0] - zero_s, values[0], times[1] - zero_s, values[1])


def picture_measures(picture: NDArray[np.uint8]) -> Array:
    """Return `PICTURE_MEASURES` of a picture, (H, W, 3) RGB.

    Brightness: mean luma, 0 to 255. Red and blue share: of the sum of the channels' means. Contrast: standard
    deviation of the luma. Sharpness: mean absolute Laplacian of the luma, which blur lowers and noise raises.
    """
    luma = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY).astype(np.float32)
    red, green, blue = picture.reshape(-1, 3).mean(axis=0)
    total = max(red + green + blue, 1e-9)
    sharpness = np.abs(cv2.Laplacian(luma, cv2.CV_32F)).mean()
    return np.array([luma.mean(), red / total, blue / total, luma.std(), sharpness], np.float64)


def following(motion: Motion) -> tuple[float, Array] | None:
    """Return by how much the arms are late, and how far from their commands they are beside that.

    The delay is the shift at which commands explain the measured joints best; the rest is the root mean
    square of what it leaves, (12,) [rad], of the arms' joints.

    Returns:
        None where the arms hardly moved.
    """
    commanded, measured = motion.commanded[:, ARM_COLUMNS], motion.measured[:, ARM_COLUMNS]
    if np.ptp(commanded, axis=0).max() < LEAST_MOTION:
        return None
    best: tuple[float, float, Array] | None = None
    inside = motion.measured_s >= motion.commanded_s[0] + LONGEST_DELAY_S
    if inside.sum() < 2:
        return None
    for delay_s in np.arange(0, LONGEST_DELAY_S, DELAY_STEP_S):
        wanted = held(motion.commanded_s, commanded, motion.measured_s[inside] - delay_s)
        error = measured[inside] - wanted
        # A steady offset, such as a joint's calibration, must not be taken for a delay.
        cost = float(np.square(error - error.mean(axis=0)).sum())
        if best is None or cost < best[0]:
            best = cost, float(delay_s), np.sqrt(np.square(error).mean(axis=0))
    assert best is not None
    return best[1], best[2]


def held(times_s: Array, values: Array, at_s: Array) -> Array:
    """Return the value that stood at each moment: a drive keeps its last command."""
    return values[np.clip(np.searchsorted(times_s, at_s, side="right") - 1, 0, len(values) - 1)]


def same_commands_in_the_cell(motion: Motion, cell: WorkCell, task: str, seed: int) -> Motion:
    """Give the simulated arms what the robot was commanded, under the draw of one seed."""
    cell.reset(task, seed)
    measured: list[tuple[float, Array]] = []
    latency_s = cell.draw.latency_steps / CONTROL_RATE_HZ
    for step in range(int(motion.commanded_s[-1] / PERIOD_S)):
        now_s = step * PERIOD_S
        target = held(motion.commanded_s, motion.commanded, np.array([now_s - latency_s]))[0]
        cell.drive(target, PHYSICS_STEPS)
        measured.append((now_s + PERIOD_S, cell.proprio().astype(np.float64)))
    times_s, values = zip(*measured, strict=True)
    return Motion(motion.commanded_s, motion.commanded, np.array(times_s), np.stack(values))


def pictures_of_the_cell(
    randomization: RandomizationConfig, task: str, seeds: Sequence[int], size_px: int
) -> Array:
    """Return `PICTURE_MEASURES` of the cell's first picture of each seed, (seeds, 5)."""
    cell = WorkCell(randomization, image_size=size_px)
    try:
        found = []
        for seed in seeds:
            cell.reset(task, seed)
            found.append(picture_measures(cell.images()[0]))
        return np.stack(found)
    finally:
        cell.close()
