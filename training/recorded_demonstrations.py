"""Demonstrations that somebody else recorded, brought to what the policy sees: its picture size, its rate.

RoboTwin 2.0's own files stand in the place of ours this way. Two things about them are easy to get wrong:
their `additional_info/frequency` of 15 counts physics steps of 4 ms between frames, so their rate is
250 / 15 Hz; and an action is the state one frame later, which after a change of rate must be the state one
new frame later. Knows files and pictures; knows neither experts nor networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from dygro_ros.errors import DataError, UserError
from dygro_ros.layout import CONTROL_RATE_HZ, INSTRUCTION_BYTES
from training.episode_file import EpisodeRecord, read_episode


@dataclass(frozen=True)
class RecordedConfig:
    """Train on recorded episodes instead of collecting some in the simulated cell."""

    folder: Path | None = None
    """Folder with HDF5 episodes in RoboTwin's v1.0 layout, at any depth; unset: collect."""
    rate_hz: float | None = None
    """True rate of the files [Hz], 16.667 for RoboTwin's own; unset: what they say, which must be 25."""


def find_episodes(folder: Path) -> list[Path]:
    """Return the HDF5 files below a folder, sorted by path.

    Raises:
        UserError: There is no such folder.
        DataError: It holds no HDF5 file.
    """
    if not folder.is_dir():
        raise UserError(f"--recorded.folder {folder} is not a folder")
    files = sorted(folder.glob("**/*.hdf5"))
    if not files:
        raise DataError(f"--recorded.folder {folder} holds no file that ends in .hdf5")
    return files


def read_recorded(
    path: Path, *, cameras: Sequence[str], image_size: int, rate_hz: float | None
) -> EpisodeRecord:
    """Read one recorded episode as the policy would have seen it.

    Of its instructions those are kept that are short enough for the policy.

    Args:
        path: The HDF5 file.
        cameras: Cameras in the policy's order.
        image_size: Height and width of the policy's pictures [px]; the middle square is taken.
        rate_hz: True rate of the file [Hz]; None takes the file's word, which must be the control rate.

    Raises:
        DataError: As `read_episode`; the rate is neither given nor ours; or no instruction is short enough.
        UserError: The rate is not positive.
    """
    if rate_hz is not None and not rate_hz > 0:
        raise UserError(f"--recorded.rate-hz must be above 0, got {rate_hz:g}")
    record = read_episode(path, cameras=cameras, expected_rate_hz=None)
    if rate_hz is not None:
        record = replace(record, rate_hz=rate_hz)
    elif record.rate_hz != CONTROL_RATE_HZ:
        raise DataError(
            f"{path}: additional_info/frequency must be {CONTROL_RATE_HZ:g} Hz, found {record.rate_hz:g} Hz: "
            "say the true rate by --recorded.rate-hz (16.667 for RoboTwin's own files)"
        )
    sizes = [len(text.encode()) for text in record.instructions]
    if min(sizes) > INSTRUCTION_BYTES:
        raise DataError(
            f"{path}: instructions must hold a text of at most {INSTRUCTION_BYTES} UTF-8 bytes, "
            f"the shortest has {min(sizes)}"
        )
    short = [text for text, size in zip(record.instructions, sizes, strict=True) if size <= INSTRUCTION_BYTES]
    images = _squared(record.images, image_size)
    return at_control_rate(replace(record, instructions=tuple(short), images=images))


def at_control_rate(record: EpisodeRecord) -> EpisodeRecord:
    """Return the episode as if it had been recorded at 25 Hz.

    Measured joints are interpolated linearly. A command is reached at the end of its frame, and is
    interpolated between those moments. Pictures and simulator state are the latest that had been taken.
    """
    if record.rate_hz == CONTROL_RATE_HZ:
        return record
    taken = np.arange(len(record.proprio)) / record.rate_hz
    # A rounding error must not cost the last frame.
    frames = int(np.floor(taken[-1] * CONTROL_RATE_HZ + 1e-6)) + 1
    now = np.arange(frames) / CONTROL_RATE_HZ
    latest = np.searchsorted(taken, now + 1e-6, side="right") - 1

    def command(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return _interpolate(now + 1 / CONTROL_RATE_HZ, taken + 1 / record.rate_hz, values)

    return replace(
        record,
        rate_hz=CONTROL_RATE_HZ,
        proprio=_interpolate(now, taken, record.proprio),
        action=command(record.action),
        images=record.images[latest],
        executed=None if record.executed is None else command(record.executed),
        privileged=None if record.privileged is None else record.privileged[latest],
    )


def _interpolate(
    at: NDArray[np.float64], times: NDArray[np.float64], values: NDArray[np.float32]
) -> NDArray[np.float32]:
    return np.stack([np.interp(at, times, column) for column in values.T], axis=1).astype(np.float32)


def _squared(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return the middle squares at (size, size) px; images of shape (T, V, H, W, 3)."""
    if images.shape[2:4] == (size, size):
        return images
    fitted = np.empty((*images.shape[:2], size, size, 3), dtype=np.uint8)
    for index in np.ndindex(*images.shape[:2]):
        picture = Image.fromarray(images[index])
        fitted[index] = np.asarray(ImageOps.fit(picture, (size, size), Image.Resampling.BILINEAR))
    return fitted
