"""Recordings of a trial: whole, as they came, and readable by others' tools."""

import array
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="the ros extra is for Linux on x86-64")

import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Float32MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from dygro_ros.nodes.managed import LATCHED, RELIABLE
from dygro_ros.nodes.message_text import message_text, type_name
from dygro_ros.nodes.messages import chunk_message, image_message, joint_state
from dygro_ros.nodes.trial_recorder import RecordingError, TrialRecorder

pytestmark = pytest.mark.usefixtures("own_domain")

CHUNK = np.random.default_rng(0).normal(size=(4, 2))
STATUS = DiagnosticStatus(level=b"\1", name="arm", message="late", values=[KeyValue(key="age", value="7")])
MESSAGES: dict[str, Any] = {
    "text": String(data="hold"),
    "joints": joint_state(("a", "b"), [0.25, -0.5], 1_500_000_000),
    "chunk": chunk_message(CHUNK, CHUNK + 1, ("a", "b"), 2_000_000_001, 0.04),
    "picture": image_message(np.arange(24, dtype=np.uint8).reshape(2, 4, 3), 3, "camera"),
    "info": CameraInfo(height=2, width=4, k=[float(i) for i in range(9)]),
    "gates": Float32MultiArray(data=[0.5, 0.25]),
    "diagnostics": DiagnosticArray(status=[STATUS]),
}


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node("recorder_test")
    yield made
    made.destroy_node()


def until(node: Node, true: Callable[[], bool]) -> None:
    ends_s = time.monotonic() + 20.0
    while not true():
        assert time.monotonic() < ends_s
        rclpy.spin_once(node, timeout_sec=0.02)


def read(path: Path) -> list[tuple[str, str, int, Any]]:
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        return [
            (channel.topic, schema.name, message.log_time, decoded)
            for schema, channel, message, decoded in reader.iter_decoded_messages()
            if schema is not None
        ]


def plain(message: Any) -> Any:
    """Return a message's values, however it was decoded."""
    if hasattr(message, "get_fields_and_field_types"):
        return {name: plain(getattr(message, name)) for name in message.get_fields_and_field_types()}
    if hasattr(message, "__slots__") and not isinstance(message, (str, bytes)):
        return {name: plain(getattr(message, name)) for name in message.__slots__}
    if isinstance(message, bytes):
        return message[0] if len(message) == 1 else list(message)
    if isinstance(message, (np.ndarray, array.array)):
        return message.tolist()
    return [plain(item) for item in message] if isinstance(message, (list, tuple)) else message


def test_every_message_comes_back_as_it_was(node: Node, tmp_path: Path) -> None:
    topics = {f"test/{name}": (type(message), RELIABLE) for name, message in MESSAGES.items()}
    recorder = TrialRecorder(node, topics, wall_ns=lambda: 42)
    publishers = {
        name: node.create_publisher(type(m), f"test/{name}", RELIABLE) for name, m in MESSAGES.items()
    }
    until(node, lambda: all(publisher.get_subscription_count() for publisher in publishers.values()))
    recorder.begin(tmp_path / "trial_0001_1")
    for name, message in MESSAGES.items():
        publishers[name].publish(message)
    until(node, lambda: recorder.messages == len(MESSAGES))
    path = recorder.end()
    assert path == tmp_path / "trial_0001_1" / "trial.mcap" and list(path.parent.iterdir()) == [path]
    found = {topic: entry for topic, *entry in read(path)}
    assert set(found) == {f"/{topic}" for topic in topics}
    for name, message in MESSAGES.items():
        kind, time_ns, decoded = found[f"/test/{name}"]
        assert kind == type_name(type(message)) and time_ns == 42
        assert plain(decoded) == plain(message), name


def test_what_was_said_before_the_trial_is_in_it_and_what_comes_after_is_not(
    node: Node, tmp_path: Path
) -> None:
    recorder = TrialRecorder(node, {"test/mode": (String, LATCHED)})
    publisher = node.create_publisher(String, "test/mode", LATCHED)
    assert recorder.end() is None
    publisher.publish(String(data="holding"))
    until(node, lambda: bool(recorder._last))
    recorder.begin(tmp_path)
    publisher.publish(String(data="running"))
    until(node, lambda: b"running" in recorder._last["/test/mode"])
    path = recorder.end()
    publisher.publish(String(data="stopped"))
    until(node, lambda: b"stopped" in recorder._last["/test/mode"])
    assert path is not None
    assert [message.data for *_, message in read(path)] == ["holding", "running"]


def test_a_trial_is_recorded_once_and_a_disk_that_fails_is_said(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = TrialRecorder(node, {"test/mode": (String, LATCHED)})
    recorder.begin(tmp_path)
    with pytest.raises(RecordingError, match="is still being written"):
        recorder.begin(tmp_path)
    recorder.end()
    with pytest.raises(RecordingError, match="a trial is recorded once"):
        recorder.begin(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(RecordingError, match="cannot be written: Not a directory"):
        recorder.begin(tmp_path / "file" / "trial")
    recorder.begin(tmp_path / "full")

    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorder._writer, "finish", full)
    with pytest.raises(RecordingError, match="is not whole: No space left on device"):
        recorder.end()
    assert not (tmp_path / "full" / "trial.mcap").exists()
    recorder.begin(tmp_path / "next")
    assert recorder.end() == tmp_path / "next" / "trial.mcap"


def test_a_definition_holds_each_message_once() -> None:
    text = message_text(JointTrajectory)
    assert text.startswith("std_msgs/Header header\nstring[] joint_names\n")
    assert text.count("MSG: std_msgs/Header") == text.count("MSG: builtin_interfaces/Time") == 1
    assert "MSG: builtin_interfaces/Duration" in text and "float64[] positions" in text
    assert message_text(Time) == "int32 sec\nuint32 nanosec\n"
    assert "float64[9] k" in message_text(CameraInfo) and "uint8[] data" in message_text(Image)
    assert "float64[] effort" in message_text(JointState)
