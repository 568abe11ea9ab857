"""An MCAP recording as a camera."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mcap_ros2.writer import Writer

from dygro_ros.cameras.camera import CameraError
from dygro_ros.cameras.drivers import camera_for
from dygro_ros.cameras.mcap import McapCamera
from dygro_ros.robot_profile import CameraParameters

WIDTH, HEIGHT = 32, 24
TOPIC = "/head_camera/color/image_raw"
HEADER = """
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
================================================================================
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
"""
IMAGE = """std_msgs/Header header
uint32 height
uint32 width
string encoding
uint8 is_bigendian
uint32 step
uint8[] data"""
COMPRESSED = "std_msgs/Header header\nstring format\nuint8[] data"
PICTURES = np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH, 3), dtype=np.uint8)
EMPTY_HEADER = {"stamp": {"sec": 0, "nanosec": 0}, "frame_id": ""}


def image(picture: np.ndarray, encoding: str = "rgb8") -> dict[str, Any]:
    height, width = picture.shape[:2]
    data = picture if encoding == "rgb8" else picture[:, :, ::-1]
    fields = {"height": height, "width": width, "encoding": encoding, "is_bigendian": 0, "step": 3 * width}
    return {"header": EMPTY_HEADER, "data": data.tobytes(), **fields}


def recording(
    path: Path, messages: list[dict[str, Any]], kind: str = "Image", text: str = IMAGE, topic: str = TOPIC
) -> Path:
    with path.open("wb") as file:
        writer = Writer(file)
        schema = writer.register_msgdef(f"sensor_msgs/msg/{kind}", text + HEADER)
        for index, message in enumerate(messages):
            # 10, then 20 pictures a second.
            time_ns = 10**9 + [0, 100_000_000, 150_000_000][index]
            writer.write_message(topic, schema, message, log_time=time_ns, publish_time=time_ns)
        writer.finish()
    return path


class Clock:
    def __init__(self) -> None:
        self.now_s = 50.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def camera(path: Path, clock: Clock, **changes: Any) -> McapCamera:
    parameters = CameraParameters(
        driver="replay", name="head_camera", serial_no="", recording=str(path), width=WIDTH, height=HEIGHT,
        rate_hz=20, exposure_us=0, white_balance_k=0,
    aligned_depth=False,
    ).model_copy(update=changes)  # fmt: skip
    assert isinstance(camera_for(parameters), McapCamera)
    return McapCamera(
        parameters, clock=lambda: clock.now_s, sleep=clock.sleep, wall_ns=lambda: round(1e9 * clock.now_s)
    )


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8"])
def test_a_recording_plays_at_its_own_pace_again_and_again(tmp_path: Path, encoding: str) -> None:
    clock = Clock()
    eye = camera(recording(tmp_path / "a.mcap", [image(p, encoding) for p in PICTURES]), clock)
    assert eye.open() == f"recording {tmp_path / 'a.mcap'}, 32 x 24"
    assert eye.next(0.01) is not None
    assert eye.next(0.01) is None  # not yet its time
    times_s = []
    for expected in (1, 2, 0, 1):
        frame = eye.next(1.0)
        assert frame is not None and frame.picture.tolist() == PICTURES[expected].tolist()
        times_s.append(1e-9 * frame.stamp_ns)
    assert times_s == pytest.approx([50.1, 50.15, 50.2, 50.3])
    eye.close()
    eye.close()


def test_compressed_pictures_are_read(tmp_path: Path) -> None:
    data = cv2.imencode(".png", PICTURES[0][:, :, ::-1])[1].tobytes()
    message = {"header": EMPTY_HEADER, "format": "rgb8; png", "data": data}
    path = recording(tmp_path / "a.mcap", [message], "CompressedImage", COMPRESSED, f"{TOPIC}/compressed")
    eye = camera(path, Clock())
    eye.open()
    frame = eye.next(0.1)
    eye.close()
    assert frame is not None and frame.picture.tolist() == PICTURES[0].tolist()


def test_a_recording_that_does_not_fit_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="must name an MCAP file"):
        camera(tmp_path / "none.mcap", Clock()).open()
    good = recording(tmp_path / "a.mcap", [image(PICTURES[0])])
    with pytest.raises(CameraError, match="expected pictures of 64 x 24 px, got 32 x 24"):
        camera(good, Clock(), width=64).open()
    with pytest.raises(CameraError, match="holds no picture of /wrist/color/image_raw or"):
        camera(good, Clock(), name="wrist").open()
    depth = recording(tmp_path / "b.mcap", [image(PICTURES[0]) | {"encoding": "16UC1"}])
    with pytest.raises(CameraError, match="expected an image of encoding rgb8 or bgr8, got '16UC1'"):
        camera(depth, Clock()).open()
    (tmp_path / "c.mcap").write_bytes(good.read_bytes()[:200])
    with pytest.raises(CameraError, match=r"c\.mcap: "):
        camera(tmp_path / "c.mcap", Clock()).open()
