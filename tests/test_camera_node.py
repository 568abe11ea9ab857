"""The camera node: pictures under realsense-ros's names, and a camera that comes back."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from dygro_ros.cameras.camera import CameraError, Frame
from dygro_ros.cameras.video import VideoCamera
from dygro_ros.robot_profile import CameraParameters

rclpy = pytest.importorskip("rclpy", reason="the ros extra is for Linux on x86-64")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

from dygro_ros.nodes import camera_node  # noqa: E402
from dygro_ros.nodes.camera_node import CameraNode  # noqa: E402
from dygro_ros.nodes.managed import NEWEST  # noqa: E402
from dygro_ros.nodes.messages import picture_of  # noqa: E402

WAIT_S = 30.0
WIDTH, HEIGHT = 32, 24
PARAMETERS = CameraParameters(
    driver="realsense",
    name="head_camera",
    serial_no="1",
    recording="",
    width=WIDTH,
    height=HEIGHT,
    rate_hz=30,
    exposure_us=0,
    white_balance_k=0,
    aligned_depth=False,
)
PICTURE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


class Plug:
    """A camera with a plug that the test pulls."""

    def __init__(self, parameters: CameraParameters) -> None:
        self.pulled = threading.Event()
        self.resets = 0

    def open(self) -> str:
        if self.pulled.is_set():
            raise CameraError("it is not there")
        return "a camera"

    def next(self, timeout_s: float) -> Frame | None:
        if self.pulled.wait(0.02):
            raise CameraError("it has gone")
        return Frame(PICTURE, time.time_ns())

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None:
        pass


class Eyes(Node):
    """Sees what the node publishes."""

    def __init__(self) -> None:
        super().__init__("eyes")
        self.images: list[Image] = []
        self.infos: list[CameraInfo] = []
        self.create_subscription(Image, "/head_camera/color/image_raw", self.images.append, NEWEST)
        self.create_subscription(CameraInfo, "/head_camera/color/camera_info", self.infos.append, NEWEST)


@pytest.fixture
def ros(monkeypatch: pytest.MonkeyPatch) -> Iterator[SingleThreadedExecutor]:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_DOMAIN_ID", "97")
    rclpy.init()
    yield SingleThreadedExecutor()
    rclpy.try_shutdown()


def until(executor: SingleThreadedExecutor, true: Callable[[], object]) -> None:
    ends_s = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < ends_s
        executor.spin_once(timeout_sec=0.02)


def test_pictures_arrive_and_a_pulled_camera_is_reset_and_comes_back(
    ros: SingleThreadedExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug = Plug(PARAMETERS)
    monkeypatch.setattr(camera_node, "camera_for", lambda parameters: plug)
    monkeypatch.setattr(camera_node, "RETRY_S", 0.05)
    node, eyes = CameraNode(), Eyes()
    ros.add_node(eyes)
    node.prepare(PARAMETERS)
    node.begin()
    until(ros, lambda: eyes.images and eyes.infos)
    assert np.array_equal(picture_of(eyes.images[0]), PICTURE)
    assert eyes.images[0].header.frame_id == "head_camera_color_optical_frame"
    assert (eyes.infos[0].width, eyes.infos[0].height) == (WIDTH, HEIGHT)
    plug.pulled.set()
    until(ros, lambda: node.status()[1] == "it is not there")
    assert plug.resets == 1
    plug.pulled.clear()
    count = len(eyes.images)
    until(ros, lambda: len(eyes.images) > count + 2)
    assert node.status()[1] == "" and node.status()[2]["opened again"] == 1
    node.end()
    node.release()
    node.destroy_node()
    eyes.destroy_node()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "recording.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (WIDTH, HEIGHT))
    for value in (0, 100, 200):
        writer.write(np.full((HEIGHT, WIDTH, 3), (value, 0, 0), np.uint8))
    writer.release()
    return path


def test_a_recording_plays_in_its_own_time_again_and_again(video: Path) -> None:
    now_s = [10.0]

    def sleep(seconds: float) -> None:
        now_s[0] += seconds

    parameters = PARAMETERS.model_copy(update={"driver": "replay", "recording": str(video)})
    camera = VideoCamera(
        parameters, clock=lambda: now_s[0], sleep=sleep, wall_ns=lambda: round(1e9 * now_s[0])
    )
    assert "32 x 24" in camera.open()
    frames = [camera.next(1.0) for _ in range(5)]
    seen = [int(frame.picture[..., 2].mean()) for frame in frames if frame is not None]
    assert np.abs(np.array(seen) - [0, 100, 200, 0, 100]).max() < 12  # blue in the file is third here
    stamps = [frame.stamp_ns for frame in frames if frame is not None]
    assert np.allclose(np.diff(stamps), 1e9 / 30, atol=10)
    assert camera.next(0.001) is None
    camera.close()


def test_a_recording_that_does_not_fit_is_refused(video: Path, tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="recording must name a video file"):
        VideoCamera(PARAMETERS.model_copy(update={"recording": str(tmp_path / "none.avi")})).open()
    wide = PARAMETERS.model_copy(update={"recording": str(video), "width": 64})
    with pytest.raises(CameraError, match="expected a video of 64 x 24 px, got 32 x 24"):
        VideoCamera(wide).open()
