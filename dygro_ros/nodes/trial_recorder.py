"""Writes what some topics carry during a trial into an MCAP file, which `ros2 bag` and `mcap` read."""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

from dygro_ros.errors import DependencyError, UserError
from dygro_ros.evaluation.recording import MCAP_FILE
from dygro_ros.nodes.message_text import message_text, type_name


class RecordingError(UserError):
    """A recording cannot be written; the message names the file."""


class TrialRecorder:
    """Messages as they came, byte for byte, while a trial runs."""

    def __init__(
        self,
        node: Node,
        topics: Mapping[str, tuple[type[Any], QoSProfile]],
        *,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Listen from now on, so that nothing is missed of a trial's beginning.

        Args:
            node: Listens.
            topics: Topic -> type of its messages and how it is sent.
            wall_ns: The wall clock [ns].

        Raises:
            DependencyError: The writer of MCAP is not installed.
        """
        try:
            self._mcap: Any = importlib.import_module("mcap.writer")
        except ImportError as error:
            raise DependencyError(f"recording a trial needs mcap ({error}): pip install mcap") from error
        self._wall_ns = wall_ns
        self._lock = threading.Lock()
        self._kinds: dict[str, type[Any]] = {}
        self._latched: set[str] = set()
        self._file: IO[bytes] | None = None
        self._writer: Any = None
        self._channels: dict[str, int] = {}
        self._last: dict[str, bytes] = {}
        self.messages = 0
        """Messages in the recording at hand, or in the last one."""
        self._failure = ""
        for name, (kind, qos) in topics.items():
            topic = node.resolve_topic_name(name)
            self._kinds[topic] = kind
            if qos.durability == DurabilityPolicy.TRANSIENT_LOCAL:
                self._latched.add(topic)
            node.create_subscription(kind, topic, partial(self._on_message, topic), qos, raw=True)

    def begin(self, folder: Path) -> None:
        """Write from now on; begins with the last message of each topic that keeps its last one.

        Raises:
            RecordingError: There is a recording already, or none can be written.
        """
        path = folder / MCAP_FILE
        with self._lock:
            if self._file is not None:
                raise RecordingError(f"{self._file.name} is still being written")
            if path.exists():
                raise RecordingError(f"{path} exists: a trial is recorded once")
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._file = (folder / (MCAP_FILE + ".part")).open("wb")
                self._writer = self._mcap.Writer(self._file)
                self._writer.start(profile="ros2", library="dygro_ros")
                self._channels, self._failure, self.messages = {}, "", 0
                for topic, message in self._last.items():
                    self._write(topic, message)
            except OSError as error:
                self._drop()
                raise RecordingError(f"{path} cannot be written: {error.strerror}") from error

    def end(self) -> Path | None:
        """Close the recording and return it; None where there is none.

        Raises:
            RecordingError: It could not be written to its end.
        """
        with self._lock:
            if self._file is None:
                return None
            part = Path(self._file.name)
            try:
                if self._failure:
                    raise RecordingError(f"{part} is not whole: {self._failure}")
                self._writer.finish()
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                raise RecordingError(f"{part} is not whole: {error.strerror}") from error
            finally:
                self._drop()
            path = part.with_suffix("")
            os.replace(part, path)
            return path

    def _drop(self) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError:
                # What could not be written has been said; closing tries to write it again.
                self._failure = self._failure or "the disk failed"
        self._file, self._writer = None, None

    def _on_message(self, topic: str, message: bytes) -> None:
        with self._lock:
            if topic in self._latched:
                self._last[topic] = message
            if self._file is None or self._failure:
                return
            try:
                self._write(topic, message)
            except OSError as error:
                self._failure = str(error.strerror)

    def _write(self, topic: str, message: bytes) -> None:
        if topic not in self._channels:
            kind = self._kinds[topic]
            schema = self._writer.register_schema(type_name(kind), "ros2msg", message_text(kind).encode())
            self._channels[topic] = self._writer.register_channel(topic, "cdr", schema)
        now_ns = self._wall_ns()
        self._writer.add_message(self._channels[topic], now_ns, message, now_ns)
        self.messages += 1
