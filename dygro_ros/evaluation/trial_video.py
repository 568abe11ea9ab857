"""A trial as H.264 video, so that what the camera saw can be looked at without any robot software.

The file is written in fragments: what a kill leaves behind plays up to its last second.
"""

from __future__ import annotations

import importlib
import os
import queue
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import DependencyError, UserError
from dygro_ros.evaluation.recording import VIDEO_FILE

# Time in the file is counted in these [s].
TICK_S = Fraction(1, 90_000)
# Pictures that may wait for the encoder: two seconds of them.
MOST_WAITING = 60
# What cameras mostly give; the file holds each picture's own moment.
RATE_HZ = 30


class VideoError(UserError):
    """A video cannot be written; the message names the file."""


class TrialVideo:
    """Encodes in a thread of its own: who hands pictures over never waits."""

    def __init__(self) -> None:
        """Look for the encoder.

        Raises:
            DependencyError: PyAV is not installed.
        """
        try:
            self._av: Any = importlib.import_module("av")
        except ImportError as error:
            raise DependencyError(f"a trial's video needs PyAV ({error}): pip install av") from error
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._thread: threading.Thread | None = None
        self._waiting: queue.Queue[tuple[int, NDArray[np.uint8]] | None] = queue.Queue()
        self._failure = ""
        self.pictures, self.dropped = 0, 0
        """Pictures in the video at hand, or in the last one, and those that the encoder was too slow for."""

    def begin(self, folder: Path) -> None:
        """Write from now on.

        Raises:
            VideoError: There is a video already.
        """
        path = folder / VIDEO_FILE
        with self._lock:
            if self._path is not None:
                raise VideoError(f"{self._path} is still being written")
            if path.exists():
                raise VideoError(f"{path} exists: a trial is recorded once")
            self._path, self._failure = path, ""
            self.pictures = self.dropped = 0
            self._waiting = queue.Queue(MOST_WAITING)
            self._thread = threading.Thread(target=self._encode, args=(path, self._waiting), name="video")
            self._thread.start()

    def put(self, picture: NDArray[np.uint8], stamp_ns: int) -> None:
        """Take a picture, (H, W, 3) RGB, and its moment; nothing happens where no trial is recorded."""
        with self._lock:
            if self._path is None:
                return
            try:
                self._waiting.put_nowait((stamp_ns, picture))
            except queue.Full:
                self.dropped += 1

    def end(self) -> Path | None:
        """Close the video and return it; None where there is none, or no picture came.

        Raises:
            VideoError: It could not be written to its end.
        """
        with self._lock:
            path, thread = self._path, self._thread
            self._path = None
        if path is None or thread is None:
            return None
        self._waiting.put(None)
        thread.join()
        if self._failure:
            raise VideoError(f"{path} is not whole: {self._failure}")
        return path if self.pictures else None

    def _encode(self, path: Path, waiting: queue.Queue[tuple[int, NDArray[np.uint8]] | None]) -> None:
        part = path.with_name(path.name + ".part")
        container: Any = None
        stream: Any = None
        first_ns, last = 0, -1
        try:
            while (item := waiting.get()) is not None:
                if self._failure:
                    continue  # Who hands over must not be kept waiting.
                stamp_ns, picture = item
                try:
                    if container is None:
                        container, stream = self._open(part, picture)
                        first_ns = stamp_ns
                    ticks = round((stamp_ns - first_ns) * 1e-9 / TICK_S)
                    if ticks <= last:
                        continue  # A camera's clock that jumped back shows nothing new.
                    frame = self._av.VideoFrame.from_ndarray(picture, format="rgb24")
                    frame.pts, frame.time_base, last = ticks, TICK_S, ticks
                    container.mux(stream.encode(frame))
                    self.pictures += 1
                except (OSError, ValueError, self._av.error.FFmpegError) as error:
                    self._failure = str(error)
        finally:
            if container is not None:
                self._close(container, stream, part, path)

    def _open(self, part: Path, picture: NDArray[np.uint8]) -> tuple[Any, Any]:
        part.parent.mkdir(parents=True, exist_ok=True)
        options = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
        container = self._av.open(str(part), "w", format="mp4", options=options)
        stream = container.add_stream("libx264", rate=Fraction(RATE_HZ))
        # H.264 in its common form takes even sizes alone.
        stream.height, stream.width = (size - size % 2 for size in picture.shape[:2])
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", TICK_S
        stream.codec_context.thread_count = 1
        stream.options = {"preset": "veryfast", "tune": "zerolatency", "crf": "23"}
        # A fragment ends before each key frame: once a second.
        stream.codec_context.gop_size = RATE_HZ
        return container, stream

    def _close(self, container: Any, stream: Any, part: Path, path: Path) -> None:
        try:
            if not self._failure:
                container.mux(stream.encode(None))
        except (OSError, self._av.error.FFmpegError) as error:
            self._failure = str(error)
        try:
            container.close()
        except (OSError, self._av.error.FFmpegError) as error:
            self._failure = self._failure or str(error)
        if not self._failure:
            os.replace(part, path)
