"""The newest picture of the head camera, for whoever shows it: encoded once, however many look."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

QUALITY = 80


class LivePicture:
    """One writer, any number of readers, each in a thread of its own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Hold none yet.

        Args:
            clock: Monotonic clock [s].
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._encoding = threading.Lock()
        self._picture: NDArray[np.uint8] | None = None
        self._count, self._came_s = 0, 0.0
        self._jpeg: tuple[int, bytes] = (0, b"")

    def put(self, picture: NDArray[np.uint8]) -> None:
        """Take a picture, (H, W, 3) RGB, that nobody changes any more."""
        with self._lock:
            self._picture, self._came_s = picture, self._clock()
            self._count += 1

    @property
    def count(self) -> int:
        """How many have come."""
        return self._count

    def age_s(self) -> float | None:
        """Return how long ago the newest came [s]; None where none has."""
        with self._lock:
            return None if self._picture is None else self._clock() - self._came_s

    def newest(self) -> NDArray[np.uint8] | None:
        """Return the newest picture, (H, W, 3) RGB; None where none has come."""
        with self._lock:
            return self._picture

    def jpeg(self) -> tuple[int, bytes]:
        """Return the newest picture's number, from 1, and its JPEG; (0, b"") where none has come."""
        with self._encoding:
            with self._lock:
                picture, count = self._picture, self._count
            if picture is not None and count != self._jpeg[0]:
                bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
                _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
                self._jpeg = (count, encoded.tobytes())
            return self._jpeg
