"""A recording of `ros2 bag` (MCAP) as a camera: plays at its recorded pace, again and again."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dygro_ros.cameras.camera import CameraError, Frame
from dygro_ros.cameras.recording import Recording
from dygro_ros.errors import DependencyError, UserError
from dygro_ros.picture import picture_from
from dygro_ros.robot_profile import CameraParameters

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
# A gap in the recording is not waited for longer than this [s].
LONGEST_GAP_S = 1.0


class McapCamera(Recording):
    """Pictures of one topic of a recording."""

    def __init__(self, parameters: CameraParameters, **clocks: Any) -> None:
        """Take file and topic from the profile: /<name>/color/image_raw, or the compressed one beside it.

        Args:
            parameters: The profile's section.
            clocks: As `Recording` takes them.

        Raises:
            DependencyError: The readers of MCAP are not installed.
        """
        super().__init__(parameters, **clocks)
        try:
            self._mcap: Any = importlib.import_module("mcap.reader")
            self._errors: Any = importlib.import_module("mcap.exceptions")
            self._ros2: Any = importlib.import_module("mcap_ros2.decoder")
        except ImportError as error:
            raise DependencyError(
                f"an MCAP recording needs mcap-ros2-support ({error}): pip install mcap-ros2-support"
            ) from error
        self._file: IO[bytes] | None = None
        self._entries: Iterator[tuple[int, NDArray[np.uint8]]] = iter(())
        self._next: tuple[int, NDArray[np.uint8]] | None = None

    def open(self) -> str:
        """Open the file and read its first picture; see `Camera.open`."""
        self.close()
        path = Path(self._parameters.recording)
        if not path.is_file():
            raise CameraError(f"camera_node.recording must name an MCAP file, {str(path)!r} is none")
        self._file = path.open("rb")
        wanted = (self._parameters.width, self._parameters.height)
        try:
            height, width = self._rewind().shape[:2]
            if (width, height) != wanted:
                raise CameraError(
                    f"{path}: expected pictures of {wanted[0]} x {wanted[1]} px, got {width} x {height}"
                )
        except CameraError:
            self.close()
            raise
        self._due_s = self._clock()
        return f"recording {path}, {width} x {height}"

    def next(self, timeout_s: float) -> Frame | None:
        """Return the next picture when its time has come; see `Camera.next`."""
        if not self._comes_due(timeout_s):
            return None
        assert self._next is not None
        taken_ns, picture = self._next
        self._next = self._read()
        if self._next is None:
            self._rewind()
            self._due_s += 1 / self._parameters.rate_hz
        else:
            self._due_s += min(1e-9 * (self._next[0] - taken_ns), LONGEST_GAP_S)
        return Frame(picture, self._wall_ns())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _rewind(self) -> NDArray[np.uint8]:
        """Begin anew and return the first picture."""
        assert self._file is not None
        self._file.seek(0)
        self._entries = self._pictures(self._file)
        self._next = self._read()
        if self._next is None:
            raise CameraError(
                f"{self._parameters.recording} holds no picture of {' or '.join(self._topics())}"
            )
        return self._next[1]

    def _topics(self) -> list[str]:
        topic = f"/{self._parameters.name}/color/image_raw"
        return [topic, f"{topic}/compressed"]

    def _read(self) -> tuple[int, NDArray[np.uint8]] | None:
        try:
            return next(self._entries, None)
        except (self._errors.McapError, UserError) as error:
            raise CameraError(f"{self._parameters.recording}: {error}") from error

    def _pictures(self, file: IO[bytes]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield time [ns] and picture, (H, W, 3) RGB, of each message."""
        reader = self._mcap.make_reader(file, decoder_factories=[self._ros2.DecoderFactory()])
        for schema, _, entry, message in reader.iter_decoded_messages(topics=self._topics()):
            if schema.name == IMAGE:
                fields = (message.encoding, message.height, message.width, message.step, message.data)
                yield entry.log_time, np.ascontiguousarray(picture_from(*fields))
            elif schema.name == COMPRESSED:
                found = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
                if found is None:
                    raise UserError(f"a compressed picture of format {message.format!r} cannot be read")
                yield entry.log_time, np.ascontiguousarray(found[:, :, ::-1], dtype=np.uint8)
            else:
                raise UserError(f"expected messages of {IMAGE} or {COMPRESSED}, got {schema.name}")
