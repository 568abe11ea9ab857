"""Statistics of a camera's pictures as LeRobot keeps them: of each colour, in 0..1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.dataset_statistics import QUANTILES

Nested = list[list[list[float]]]


class PictureStatistics:
    """Counts how often each channel has each of its 256 values: exact, and as small for any dataset."""

    def __init__(self) -> None:
        self._counts = np.zeros((3, 256), dtype=np.int64)
        self._pictures = 0

    def add(self, images: NDArray[np.uint8]) -> None:
        """Take pictures in, shape (T, H, W, 3)."""
        for channel in range(3):
            self._counts[channel] += np.bincount(images[..., channel].ravel(), minlength=256)
        self._pictures += len(images)

    def measures(self) -> dict[str, Nested | list[int]]:
        """Return each measure in LeRobot's shape (3, 1, 1), and the number of pictures."""
        values = np.arange(256) / 255
        total = self._counts.sum(axis=1)
        mean = self._counts @ values / total
        variance = self._counts @ values**2 / total - mean**2
        seen = self._counts > 0
        found = {
            "min": values[seen.argmax(axis=1)],
            "max": values[255 - seen[:, ::-1].argmax(axis=1)],
            "mean": mean,
            "std": np.sqrt(np.maximum(variance, 0)),
        }
        below = self._counts.cumsum(axis=1) / total[:, None]
        for name, share in QUANTILES.items():
            found[name] = values[(below >= share).argmax(axis=1)]
        nested: dict[str, Nested | list[int]] = {
            name: [[[float(value)]] for value in channels] for name, channels in found.items()
        }
        return nested | {"count": [self._pictures]}
