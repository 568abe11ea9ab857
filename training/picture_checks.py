"""What looks wrong in a dataset's pictures: colours in another order, cameras that stood still or were dark.

Whether red and blue are exchanged can be told for sure only against pictures of the same place. Without
them there are two weaker signs: cameras that disagree with each other, and more blue than red, which rooms,
wood and skin rarely have. Knows pictures, knows no files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.dataset_checks import IDLE_S, Finding
from training.episode_record import EpisodeRecord

BINS = 32
# Mean difference of blue and red, of 255, that is called a cast.
CAST = 12.0
# Of the distance that the stored order leaves to the reference, exchanging must leave less than this.
CLEARLY_CLOSER = 0.7
# Farther than this [of 255] the reference shows another place and says nothing.
COMPARABLE = 8.0
DARK, BRIGHT, FLAT = 4.0, 251.0, 2.0
BAD_SHARE = 0.05

Histograms = dict[str, NDArray[np.float64]]


class PictureChecks:
    """Takes episodes in one after the other, pictures and all, and says what looks wrong in them.

    Args:
        reference: Histograms of cameras of the same place whose colours are known to be right.
    """

    def __init__(self, reference: Histograms | None = None) -> None:
        self._reference = reference or {}
        self._colours = ColourHistograms()
        self._frames: dict[str, int] = {}
        self._blank: dict[str, int] = {}
        self._frozen: dict[str, str] = {}

    def add(self, name: str, record: EpisodeRecord) -> None:
        """Take one episode in."""
        self._colours.add(record)
        moves = np.any(np.diff(record.proprio, axis=0) != 0, axis=1)
        for view, camera in enumerate(record.cameras):
            images = record.images[:, view]
            means, spreads = images.mean(axis=(1, 2, 3)), images.std(axis=(1, 2, 3))
            blank = (means < DARK) | (means > BRIGHT) | (spreads < FLAT)
            self._frames[camera] = self._frames.get(camera, 0) + len(images)
            self._blank[camera] = self._blank.get(camera, 0) + int(blank.sum())
            same = np.all(images[1:] == images[:-1], axis=(1, 2, 3)) & moves
            length, start = _longest(same)
            if length >= IDLE_S * record.rate_hz and camera not in self._frozen:
                self._frozen[camera] = f"{length} frames from frame {start} of {name} on"

    def findings(self) -> list[Finding]:
        """Return what looks wrong."""
        found = []
        for camera, frames in self._frames.items():
            share = self._blank[camera] / frames
            if share > BAD_SHARE:
                found.append(
                    Finding(
                        "blank pictures", f"{camera}: {share:.0%} of the pictures are black, white or flat"
                    )
                )
        found += [
            Finding("frozen pictures", f"{camera}: the same picture while the robot moves, {where}")
            for camera, where in self._frozen.items()
        ]
        return found + self._colour_order()

    def _colour_order(self) -> list[Finding]:
        histograms = self._colours.histograms()
        found, judged = [], set()
        for camera, histogram in histograms.items():
            if camera not in self._reference:
                continue
            reference = self._reference[camera]
            kept, exchanged = (_distance(colours, reference) for colours in (histogram, histogram[::-1]))
            if min(kept, exchanged) > COMPARABLE:
                continue
            judged.add(camera)
            if exchanged < CLEARLY_CLOSER * kept:
                found.append(
                    Finding(
                        "colour order",
                        f"{camera}: with red and blue exchanged it is like the reference "
                        f"({exchanged:.1f} of 255 off, as stored {kept:.1f}): stored as BGR?",
                    )
                )
        guessed = {
            camera: _cast(histogram) for camera, histogram in histograms.items() if camera not in judged
        }
        blue = {camera: cast for camera, cast in guessed.items() if cast > CAST}
        warm = [camera for camera, cast in guessed.items() if cast < -CAST]
        for camera, cast in blue.items():
            why = f" and {', '.join(warm)} more red" if warm else ""
            found.append(
                Finding(
                    "colour order",
                    f"{camera}: {cast:.0f} of 255 more blue than red{why}: stored as BGR? A guess: "
                    "compare with pictures of the same place by --like, or look at the film",
                )
            )
        return found


class ColourHistograms:
    """How often each channel has which brightness, for each camera."""

    def __init__(self) -> None:
        self._counts: dict[str, NDArray[np.int64]] = {}

    def add(self, record: EpisodeRecord) -> None:
        """Take one episode in."""
        for view, camera in enumerate(record.cameras):
            counts = self._counts.setdefault(camera, np.zeros((3, BINS), dtype=np.int64))
            for channel in range(3):
                values = record.images[:, view, ..., channel].ravel() // (256 // BINS)
                counts[channel] += np.bincount(values, minlength=BINS)

    def histograms(self) -> Histograms:
        """Return each camera's histograms, shape (3, 32); each channel sums to 1."""
        return {camera: counts / counts.sum(axis=1, keepdims=True) for camera, counts in self._counts.items()}


def _distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return how far brightnesses lie from each other on average, of 255 (earth mover's distance)."""
    moved = np.abs(np.cumsum(first - second, axis=1))
    return float(moved.sum() / 3 * (256 / BINS))


def _cast(histogram: NDArray[np.float64]) -> float:
    """Return how much bluer than red the mean is, of 255."""
    brightness = (np.arange(BINS) + 0.5) * (256 / BINS)
    return float((histogram[2] - histogram[0]) @ brightness)


def _longest(true: NDArray[np.bool_]) -> tuple[int, int]:
    """Return length and start of the longest run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], true, [False]]).astype(int)))
    runs = [(int(stop - start), int(start)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
    return max(runs, default=(0, 0))


def sample(count: int, most: int) -> Sequence[int]:
    """Return up to `most` of `count` episodes, evenly spread, the first and the last among them."""
    return sorted({round(float(index)) for index in np.linspace(0, count - 1, min(count, most))})
