"""From a camera's picture to the one the policy was trained on: crop, rotate, resize.

Two crops meet here. The robot's cuts out of its camera what the cell's camera shows, and is the robot's to
say; the bundle's is part of what the policy was trained with. Colours arrive as RGB; nothing else is done to
them, because everything else is inside the graph.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import UserError
from dygro_ros.manifest import CameraSpec, CropSpec

Picture = NDArray[np.uint8]

# Rounding to whole pixels changes the ratio by less.
ASPECT_TOLERANCE = 0.03


class PictureFitter:
    """Turns the pictures of one camera into the policy's."""

    def __init__(self, spec: CameraSpec, crop: CropSpec) -> None:
        """Prepare.

        Args:
            spec: The picture that the bundle's graph takes.
            crop: What of the robot's camera shows what the cell's camera shows.
        """
        self._spec = spec
        self._crop = crop

    def fit(self, picture: Picture) -> Picture:
        """Return the picture for the graph, (height, width, 3).

        Args:
            picture: (H, W, 3) uint8 RGB.

        Raises:
            UserError: Another shape or type, or what is left after the crops has another aspect ratio than
                the graph's picture.
        """
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise UserError(
                f"{self._spec.name}: expected uint8 (H, W, 3), got {picture.dtype} {picture.shape}"
            )
        part = _cut(_cut(picture, self._crop), self._spec.crop)
        part = np.rot90(part, -self._spec.rotation_deg // 90) if self._spec.rotation_deg else part
        height, width = part.shape[:2]
        wanted = self._spec.width / self._spec.height
        if min(height, width) == 0 or abs(width / height / wanted - 1) > ASPECT_TOLERANCE:
            raise UserError(
                f"{self._spec.name}: the crop leaves {width} x {height} px of a picture of "
                f"{picture.shape[1]} x {picture.shape[0]}, but the policy was trained on "
                f"{self._spec.width} x {self._spec.height}: choose a crop of that aspect ratio"
            )
        if (width, height) == (self._spec.width, self._spec.height):
            return np.ascontiguousarray(part)
        # Averages what falls into a pixel, as a renderer's own sampling does.
        shrinks = width >= self._spec.width
        way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        size = (self._spec.width, self._spec.height)
        return np.asarray(cv2.resize(np.ascontiguousarray(part), size, interpolation=way), dtype=np.uint8)


def _cut(picture: Picture, crop: CropSpec) -> Picture:
    """Return a part of a picture, a view."""
    height, width = picture.shape[:2]
    rows = slice(round(crop.top * height), round(crop.bottom * height))
    return picture[rows, round(crop.left * width) : round(crop.right * width)]
