"""Between ROS messages and arrays."""

import numpy as np
import pytest

from dygro_ros.errors import UserError

pytest.importorskip("rclpy", reason="the ros extra is for Linux on x86-64")

from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image

from dygro_ros.nodes.messages import (
    chunk_message,
    chunk_of,
    image_message,
    joint_state,
    picture_of,
    to_ns,
    to_stamp,
    trajectory_message,
)

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
CHUNK = np.random.default_rng(1).normal(size=(10, 3)).astype(np.float32)
BASE_CHUNK = CHUNK + np.float32(1.0)
NAMES = ("a", "b", "c")
STAMP_NS = 1_234_567_890_123_456_789


def test_stamps_come_back_to_the_nanosecond() -> None:
    assert to_ns(to_stamp(STAMP_NS)) == STAMP_NS
    assert to_stamp(STAMP_NS) == Time(sec=1_234_567_890, nanosec=123_456_789)


def test_pictures_come_back_whatever_their_colour_order_and_rows() -> None:
    message = image_message(PICTURE, STAMP_NS, "frame")
    assert np.array_equal(picture_of(message), PICTURE) and to_ns(message.header.stamp) == STAMP_NS
    message.encoding = "bgr8"
    assert np.array_equal(picture_of(message), PICTURE[:, :, ::-1])
    padded = np.zeros((6, 32), np.uint8)
    padded[:, :24] = PICTURE.reshape(6, 24)
    rows = Image(height=6, width=8, encoding="rgb8", step=32, data=padded.tobytes())
    assert np.array_equal(picture_of(rows), PICTURE)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (Image(height=1, width=1, encoding="mono8", step=1, data=b"1"), "rgb8 or bgr8, got 'mono8'"),
        (Image(height=2, width=2, encoding="rgb8", step=6, data=b"123"), "12 bytes of data, got 3"),
        (Image(encoding="rgb8"), "0 x 0 px"),
    ],
)
def test_an_image_that_does_not_fit_is_refused(message: Image, words: str) -> None:
    with pytest.raises(UserError, match=words):
        picture_of(message)


def test_chunks_come_back_as_they_are() -> None:
    message = chunk_message(CHUNK, BASE_CHUNK, NAMES, STAMP_NS, 0.04)
    assert list(message.joint_names) == ["a", "b", "c", "base/a", "base/b", "base/c"]
    assert to_ns(message.header.stamp) == STAMP_NS
    names, chunk, base_chunk = chunk_of(message, 0.04)
    assert names == NAMES
    assert np.array_equal(chunk, CHUNK.astype(np.float64))
    assert np.array_equal(base_chunk, BASE_CHUNK.astype(np.float64))


def test_a_chunk_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match=r"actions must be 0\.02 s apart, but action 1 begins at 0\.04 s"):
        chunk_of(chunk_message(CHUNK, BASE_CHUNK, NAMES, STAMP_NS, 0.04), 0.02)
    with pytest.raises(UserError, match="point 0 must have 4 positions, got 6"):
        chunk_of(chunk_message(CHUNK, BASE_CHUNK, NAMES[:2], STAMP_NS, 0.04), 0.04)
    with pytest.raises(UserError, match="one point or more, got none"):
        chunk_of(chunk_message(CHUNK[:0], BASE_CHUNK[:0], NAMES, STAMP_NS, 0.04), 0.04)
    with pytest.raises(UserError, match="expected a, base/a; got a, b, c"):
        chunk_of(trajectory_message(CHUNK, NAMES, STAMP_NS, 0.04), 0.04)


def test_joint_states_hold_what_they_were_given() -> None:
    message = joint_state(NAMES, [0.1, 0.2, 0.3], STAMP_NS)
    assert list(message.name) == list(NAMES) and list(message.position) == [0.1, 0.2, 0.3]
