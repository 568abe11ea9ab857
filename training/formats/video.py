"""Video files of a dataset: written as H.264, read in any codec that PyAV decodes.

H.264, and never AV1: as root its encoder raises the whole process to the highest real-time priority.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import DataError

CODEC, PIXEL_FORMAT = "libx264", "yuv420p"
# Every second picture stands alone, so that any frame is found fast; no picture waits for a later one.
OPTIONS = {"g": "2", "bf": "0", "crf": "18"}


class VideoWriter:
    """Writes one file, picture by picture.

    Args:
        path: The file.
        rate_hz: Pictures a second, a whole number.
        height: Of the pictures [px], even.
        width: Of the pictures [px], even.

    Raises:
        DataError: The pictures' height or width is odd.
    """

    def __init__(self, path: Path, *, rate_hz: int, height: int, width: int) -> None:
        if height % 2 or width % 2:
            raise DataError(
                f"{path}: H.264 wants even height and width, got {width} x {height} px: "
                "keep pictures as images by --pictures image"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        self.pictures = 0
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream(CODEC, rate=rate_hz, options=OPTIONS)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = PIXEL_FORMAT

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Write the next picture, RGB of shape (H, W, 3)."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = self.pictures, 1 / self._stream.codec_context.framerate
        self._container.mux(self._stream.encode(frame))
        self.pictures += 1

    def close(self) -> None:
        """Finish the file."""
        if self.pictures:
            self._container.mux(self._stream.encode(None))
        self._container.close()


def read_video(path: Path, start_s: float, frames: int, rate_hz: float) -> NDArray[np.uint8]:
    """Return consecutive pictures of a file.

    Args:
        path: The file.
        start_s: When the first of them is shown [s].
        frames: How many.
        rate_hz: Pictures a second.

    Returns:
        RGB of shape (frames, H, W, 3).

    Raises:
        DataError: The file is missing, damaged, truncated, or no picture lies where one must.
    """
    found: dict[int, NDArray[np.uint8]] = {}
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if stream.time_base is None:
                raise DataError(f"{path}: says no unit of time")
            container.seek(max(0, round((start_s - 0.5 / rate_hz) / stream.time_base)), stream=stream)
            for frame in container.decode(stream):
                if frame.time is None:
                    continue
                index = round((frame.time - start_s) * rate_hz)
                if index >= frames:
                    break
                if index >= 0:
                    found[index] = frame.to_ndarray(format="rgb24")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such video") from error
    except (av.FFmpegError, IndexError) as error:
        raise DataError(f"{path}: not a whole video, it is truncated or damaged ({error})") from error
    missing = sorted(set(range(frames)) - set(found))
    if missing:
        raise DataError(
            f"{path}: must hold {frames} pictures from {start_s:g} s on at {rate_hz:g} Hz, "
            f"{len(missing)} are missing, the first at {start_s + missing[0] / rate_hz:g} s"
        )
    return np.stack([found[index] for index in range(frames)])
