"""The protocol of a camera, and its errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import UserError


class CameraError(UserError):
    """A camera cannot be opened, or has gone; the message says which and what to do."""


@dataclass(frozen=True)
class Frame:
    """One picture."""

    picture: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    stamp_ns: int
    """When it was taken [ns], wall clock."""
    depth: NDArray[np.uint16] | None = None
    """Distance of each pixel, (H, W) [mm], 0 where unknown; None where none is asked for."""


class Camera(Protocol):
    """A source of pictures; one thread uses it."""

    def open(self) -> str:
        """Open it and return what was opened, in a few words.

        Raises:
            CameraError: It is not there, or does not do what the profile asks for.
        """

    def next(self, timeout_s: float) -> Frame | None:
        """Return the next picture, or None where none came in time.

        Raises:
            CameraError: The camera has gone, or a recording has ended.
        """

    def reset(self) -> None:
        """Do what brings a camera back that has fallen silent; `open` follows."""

    def close(self) -> None:
        """Close it; a closed camera may be closed again."""
