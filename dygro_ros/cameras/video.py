"""A video file as a camera: plays in real time, again and again."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dygro_ros.cameras.camera import CameraError, Frame
from dygro_ros.cameras.recording import Recording


class VideoCamera(Recording):
    """Pictures of a video, at the profile's rate."""

    _video: cv2.VideoCapture | None = None

    def open(self) -> str:
        """Open the file; see `Camera.open`."""
        path = Path(self._parameters.recording)
        if not path.is_file():
            raise CameraError(f"camera_node.recording must name a video file, {str(path)!r} is none")
        video = cv2.VideoCapture(str(path))
        wanted = (self._parameters.width, self._parameters.height)
        size = (int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        if not video.isOpened() or size != wanted:
            video.release()
            raise CameraError(
                f"{path}: expected a video of {wanted[0]} x {wanted[1]} px, got {size[0]} x {size[1]}"
            )
        self._video, self._due_s = video, self._clock()
        return f"video {path}, {size[0]} x {size[1]}"

    def next(self, timeout_s: float) -> Frame | None:
        """Return the next picture when its time has come; see `Camera.next`."""
        assert self._video is not None
        if not self._comes_due(timeout_s):
            return None
        self._due_s += 1 / self._parameters.rate_hz
        found, picture = self._video.read()
        if not found:
            self._video.set(cv2.CAP_PROP_POS_FRAMES, 0)
            found, picture = self._video.read()
        if not found:
            raise CameraError(f"{self._parameters.recording}: no picture can be read")
        rgb = np.ascontiguousarray(picture[:, :, ::-1], dtype=np.uint8)
        return Frame(rgb, self._wall_ns())

    def close(self) -> None:
        """Close the file."""
        if self._video is not None:
            self._video.release()
            self._video = None
