"""Demonstrations that somebody else recorded, brought to what the policy sees: its picture size, its rate.

RoboTwin 2.0's own files stand in the place of ours this way. Two things about them are easy to get wrong:
their `additional_info/frequency` of 15 counts physics steps of 4 ms between frames, so their rate is
250 / 15 Hz; and an action is the state one frame later, which after a change of rate must be the state one
new frame later. Knows files and pictures; knows neither experts nor networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import DataError, UserError
from dygro_ros.instruction_codec import BYTES, InstructionCodec
from dygro_ros.layout import CONTROL_RATE_HZ, JOINT_NAMES
from dygro_ros.picture import middle, resize
from training.episode_record import EpisodeRecord, is_rate, require_names
from training.formats.detection import open_dataset
from training.formats.source import EpisodeReference


@dataclass(frozen=True)
class RecordedConfig:
    """Train on recorded episodes instead of collecting some in the simulated cell."""

    folder: Path | None = None
    """Dataset: HDF5 files of RoboTwin (v1.0) or LIBERO at any depth, or a LeRobotDataset; unset: collect."""
    rate_hz: float | None = None
    """True rate of the files [Hz], 16.667 for RoboTwin's own, from which they are brought to the world's;
    unset: what they say, which must be the world's own rate: 25 in the cell, 20 in LIBERO."""

    def check(self) -> None:
        """Refuse a rate without recordings, and one that cannot be.

        Raises:
            UserError: `rate_hz` is set without a folder, or is no finite number above 0.
        """
        if self.rate_hz is None:
            return
        require_rate("--recorded.rate-hz", self.rate_hz)
        if self.folder is None:
            raise UserError(
                f"--recorded.rate-hz {self.rate_hz:g} is the rate of recorded episodes: name them by "
                "--recorded.folder, or leave it out"
            )


def find_episodes(folder: Path) -> list[EpisodeReference]:
    """Return the episodes of a dataset of any format, in its order.

    Raises:
        UserError: There is no such folder.
        DataError: It holds no dataset, or a damaged one.
    """
    if not folder.exists():
        raise UserError(f"--recorded.folder {folder} is not a folder")
    source = open_dataset(folder)
    return [EpisodeReference(source, index) for index in range(len(source))]


def read_recorded(
    episode: EpisodeReference,
    *,
    cameras: Sequence[str],
    image_size: int,
    rate_hz: float | None,
    proprio_names: Sequence[str] = JOINT_NAMES,
    action_names: Sequence[str] = JOINT_NAMES,
    control_rate_hz: float = CONTROL_RATE_HZ,
    codec: InstructionCodec = BYTES,
) -> EpisodeRecord:
    """Read one recorded episode as the policy would have seen it.

    Of its instructions those are kept that the policy can read, which are above all those short enough.

    Args:
        episode: The episode.
        cameras: Cameras in the policy's order.
        image_size: Height and width of the policy's pictures [px]; the middle square is taken.
        rate_hz: True rate of the file [Hz]; None takes the file's word, which must be the control rate.
        proprio_names: What the policy measures of its robot, in its order.
        action_names: What the policy commands, in its order.
        control_rate_hz: The policy's rate [Hz].
        codec: How the policy reads instructions.

    Raises:
        DataError: The episode cannot be read; it is another robot's; its rate is neither given nor the
            policy's; or the policy can read none of its instructions.
        UserError: The rate is not a finite number above 0, or an unknown camera.
    """
    if rate_hz is not None:
        require_rate("--recorded.rate-hz", rate_hz)
    if not set(cameras) <= set(episode.source.cameras):  # another robot's cameras: say first whose it is
        require_names(str(episode), episode.read(()), proprio_names, action_names)
    record = episode.read(cameras)
    require_names(str(episode), record, proprio_names, action_names)
    if rate_hz is not None:
        record = replace(record, rate_hz=rate_hz)
    elif not _same_rate(record.rate_hz, control_rate_hz):
        raise DataError(
            f"{episode}: the rate must be {control_rate_hz:g} Hz, found {record.rate_hz:g} Hz: "
            "say the true rate by --recorded.rate-hz (16.667 for RoboTwin's own files)"
        )
    images = _squared(record.images, image_size)
    instructions = _readable(episode, record.instructions, codec)
    return at_rate(replace(record, instructions=instructions, images=images), control_rate_hz)


def require_rate(option: str, rate_hz: float) -> None:
    """Check a rate [Hz] that an option gives.

    Raises:
        UserError: It is not a finite number above 0.
    """
    if not is_rate(rate_hz):
        raise UserError(f"{option} must be a finite number above 0, got {rate_hz:g}")


def at_rate(record: EpisodeRecord, rate_hz: float) -> EpisodeRecord:
    """Return the episode as if it had been recorded at another rate [Hz].

    What was measured is interpolated linearly. A command is reached at the end of its frame, and is
    interpolated between those moments. Pictures and simulator state are the latest that had been taken.

    Raises:
        DataError: Actions are steps from where the robot is, which another rate would have to make anew.
    """
    if _same_rate(record.rate_hz, rate_hz):
        return replace(record, rate_hz=rate_hz)
    if not record.has_targets:
        raise DataError(
            f"actions {', '.join(record.action_names)} are steps and cannot be brought from "
            f"{record.rate_hz:g} Hz to {rate_hz:g} Hz: record at the rate that is wanted"
        )
    taken = np.arange(len(record.proprio)) / record.rate_hz
    # A rounding error must not cost the last frame.
    frames = int(np.floor(taken[-1] * rate_hz + 1e-6)) + 1
    now = np.arange(frames) / rate_hz
    latest = np.searchsorted(taken, now + 1e-6, side="right") - 1

    def command(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return _interpolate(now + 1 / rate_hz, taken + 1 / record.rate_hz, values).astype(np.float32)

    joints, states = record.joint_states, record.simulator_states
    return replace(
        record,
        rate_hz=rate_hz,
        proprio=_interpolate(now, taken, record.proprio).astype(np.float32),
        action=command(record.action),
        images=record.images[latest],
        executed=None if record.executed is None else command(record.executed),
        privileged=None if record.privileged is None else record.privileged[latest],
        joint_states=None if joints is None else _interpolate(now, taken, joints),
        simulator_states=None if states is None else states[latest],
    )


def _readable(
    episode: EpisodeReference, instructions: Sequence[str], codec: InstructionCodec
) -> tuple[str, ...]:
    """Return the instructions that the policy can read, of which there must be one."""
    found, refused = [], []
    for text in instructions:
        try:
            codec.encode(text)
        except ValueError as error:
            refused.append(str(error))
        else:
            found.append(text)
    if not found:
        raise DataError(f"{episode}: the policy can read no instruction: {min(refused, key=len)}")
    return tuple(found)


def _same_rate(one_hz: float, other_hz: float) -> bool:
    """Return whether two rates differ by rounding alone: 250 / 15 is typed as 16.667."""
    return math.isclose(one_hz, other_hz, rel_tol=1e-4)


def _interpolate(
    at: NDArray[np.float64], times: NDArray[np.float64], values: NDArray[np.floating]
) -> NDArray[np.float64]:
    return np.stack([np.interp(at, times, column) for column in values.T], axis=1)


def _squared(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return the middle squares at (size, size) px, as live pictures are made; of shape (T, V, H, W, 3)."""
    if images.shape[2:4] == (size, size):
        return images
    fitted = np.empty((*images.shape[:2], size, size, 3), dtype=np.uint8)
    for index in np.ndindex(*images.shape[:2]):
        fitted[index] = resize(middle(images[index], 1.0), size, size)
    return fitted
