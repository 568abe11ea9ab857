"""Reads the recordings of trials: messages as they were sent, by topic."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dygro_ros.errors import DataError, DependencyError

CHUNKS, IMAGES, JOINTS = "/dygro/chunk", "/dygro/observation/images", "/dygro/observation/joints"
MEASURED, COMMANDED, LATENCY = "/dygro/joint_states", "/dygro/joint_commands", "/dygro/latency"
RECORDINGS, MCAP_FILE, VIDEO_FILE = "recordings", "trial.mcap", "trial.mp4"


def recording_folder(evaluation: Path, number: int, attempt: int) -> Path:
    """Return where an attempt at a trial is recorded."""
    return evaluation / RECORDINGS / f"trial_{number:04d}_{attempt}"


def messages(path: Path, topics: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield each message of some topics, decoded, with its topic.

    Raises:
        DataError: It is not a recording, or is not whole.
        DependencyError: The readers of MCAP are not installed.
    """
    try:
        reader: Any = importlib.import_module("mcap.reader")
        errors: Any = importlib.import_module("mcap.exceptions")
        decoder: Any = importlib.import_module("mcap_ros2.decoder")
    except ImportError as error:
        raise DependencyError(
            f"reading a recording needs mcap-ros2-support ({error}): pip install mcap-ros2-support"
        ) from error
    try:
        with path.open("rb") as file:
            made = reader.make_reader(file, decoder_factories=[decoder.DecoderFactory()])
            for _, channel, _, message in made.iter_decoded_messages(topics=list(topics)):
                yield channel.topic, message
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except errors.McapError as error:
        raise DataError(f"{path} is not a whole recording: {type(error).__name__} {error}") from error


def stamp_ns_of(message: Any) -> int:
    """Return the moment in a message's header [ns]."""
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)
