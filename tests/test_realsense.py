"""The RealSense driver, on a software device of the real library."""

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from dygro_ros.cameras.camera import CameraError
from dygro_ros.cameras.realsense import EXPOSURE_UNIT_US, RealSense, librealsense
from dygro_ros.robot_profile import CameraParameters

SERIAL = "0123456789"
WIDTH, HEIGHT, RATE = 64, 48, 30
PARAMETERS = CameraParameters(
    driver="realsense",
    name="head_camera",
    serial_no=SERIAL,
    recording="",
    width=WIDTH,
    height=HEIGHT,
    rate_hz=RATE,
    exposure_us=8000,
    white_balance_k=4600,
    aligned_depth=False,
)

pytestmark = pytest.mark.skipif(
    find_spec("pyrealsense2") is None,
    reason="pyrealsense2 is installed on Linux on x86-64 only: see setup.py",
)


class SoftwareCamera:
    """A device without hardware: what it is told to see comes out of the real library."""

    def __init__(self) -> None:
        self.rs = rs = librealsense()
        self.device = rs.software_device()
        self.device.register_info(rs.camera_info.serial_number, SERIAL)
        self.device.register_info(rs.camera_info.name, "Software RealSense")
        self.sensor = self.device.add_sensor("RGB Camera")
        stream = rs.video_stream()
        stream.type, stream.index, stream.uid = rs.stream.color, 0, 1
        stream.width, stream.height, stream.fps, stream.bpp = WIDTH, HEIGHT, RATE, 3
        stream.fmt, stream.intrinsics = rs.format.rgb8, intrinsics(rs, 100.0)
        self.profile = self.sensor.add_video_stream(stream)
        for option in ("enable_auto_exposure", "exposure", "enable_auto_white_balance", "white_balance"):
            limits = rs.option_range()
            limits.min, limits.max, limits.step, limits.default = 0.0, 10_000.0, 1.0, 1.0
            self.sensor.add_option(getattr(rs.option, option), limits, True)
        self._number = 0

    def see(self, picture: np.ndarray, stamp_ms: float) -> None:
        frame = self.rs.software_video_frame()
        frame.stride, frame.bpp = 3 * picture.shape[1], 3
        frame.pixels = np.ascontiguousarray(picture)
        frame.timestamp, frame.domain = stamp_ms, self.rs.timestamp_domain.system_time
        self._number += 1
        frame.frame_number = self._number
        frame.profile = self.profile.as_video_stream_profile()
        self.sensor.on_video_frame(frame)


class SoftwareDepthCamera(SoftwareCamera):
    """The same with a depth sensor in the same place."""

    def __init__(self) -> None:
        super().__init__()
        rs = self.rs
        self.device.create_matcher(rs.matchers.default)
        self.depth_sensor = self.device.add_sensor("Stereo Module")
        stream = rs.video_stream()
        stream.type, stream.index, stream.uid = rs.stream.depth, 0, 2
        stream.width, stream.height, stream.fps, stream.bpp = WIDTH, HEIGHT, RATE, 2
        stream.fmt, stream.intrinsics = rs.format.z16, intrinsics(rs, 100.0)
        self.depth_profile = self.depth_sensor.add_video_stream(stream)
        self.depth_sensor.add_read_only_option(rs.option.depth_units, 0.0005)
        where = rs.extrinsics()
        where.rotation, where.translation = [1, 0, 0, 0, 1, 0, 0, 0, 1], [0.0, 0.0, 0.0]
        self.depth_profile.register_extrinsics_to(self.profile, where)

    def measure(self, distances: np.ndarray, stamp_ms: float) -> None:
        frame = self.rs.software_video_frame()
        frame.stride, frame.bpp = 2 * distances.shape[1], 2
        frame.pixels = np.ascontiguousarray(distances)
        frame.timestamp, frame.domain = stamp_ms, self.rs.timestamp_domain.system_time
        frame.frame_number = self._number
        frame.depth_units = 0.0005
        frame.profile = self.depth_profile.as_video_stream_profile()
        self.depth_sensor.on_video_frame(frame)


def intrinsics(rs: Any, focal_px: float) -> Any:
    found = rs.intrinsics()
    found.width, found.height = WIDTH, HEIGHT
    found.fx = found.fy = focal_px
    found.ppx, found.ppy = WIDTH / 2, HEIGHT / 2
    found.model, found.coeffs = rs.distortion.none, [0.0] * 5
    return found


@pytest.fixture
def software() -> SoftwareCamera:
    return SoftwareCamera()


def camera(software: SoftwareCamera, **changes: Any) -> RealSense:
    return RealSense(PARAMETERS.model_copy(update=changes), devices=lambda: [software.device])


def test_pictures_come_out_as_they_went_in_with_their_stamp(software: SoftwareCamera) -> None:
    eye = camera(software)
    assert "Software RealSense" in eye.open() and SERIAL in eye.open()
    rng = np.random.default_rng(0)
    for number in range(3):
        picture = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        software.see(picture, 1000.0 + 33 * number)
        frame = eye.next(5.0)
        assert frame is not None
        assert np.array_equal(frame.picture, picture)
        assert frame.stamp_ns == round((1000.0 + 33 * number) * 1e6)
    assert eye.next(0.01) is None
    eye.close()
    eye.close()


def test_exposure_and_white_balance_are_locked(software: SoftwareCamera) -> None:
    option = software.rs.option
    eye = camera(software)
    eye.open()
    eye.close()
    assert software.sensor.get_option(option.enable_auto_exposure) == 0
    assert software.sensor.get_option(option.exposure) == 8000 / EXPOSURE_UNIT_US
    assert software.sensor.get_option(option.white_balance) == 4600
    camera(software, exposure_us=0).open()
    assert software.sensor.get_option(option.enable_auto_exposure) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"serial_no": "77"}, f"no RealSense with serial number 77 is connected; connected: .*{SERIAL}"),
        ({"serial_no": ""}, f"serial_no must name the RealSense .*; connected: .*{SERIAL}"),
        ({"width": 640}, "no RGB stream of 640 x 48 px at 30 Hz; it offers 64 x 48 at 30 Hz"),
    ],
)
def test_what_is_not_there_is_named(software: SoftwareCamera, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CameraError, match=words):
        camera(software, **changes).open()


def test_a_reset_closes_and_the_next_opening_works(software: SoftwareCamera) -> None:
    eye = camera(software)
    eye.open()
    eye.reset()
    eye.open()
    picture = np.full((HEIGHT, WIDTH, 3), 7, np.uint8)
    software.see(picture, 5.0)
    frame = eye.next(5.0)
    assert frame is not None and np.array_equal(frame.picture, picture)


def test_depth_comes_as_the_colour_camera_sees_it_in_millimetres() -> None:
    software = SoftwareDepthCamera()
    eye = RealSense(PARAMETERS.model_copy(update={"aligned_depth": True}), devices=lambda: [software.device])
    eye.open()
    picture = np.full((HEIGHT, WIDTH, 3), 9, np.uint8)
    distances = np.full((HEIGHT, WIDTH), 1600, np.uint16)  # in half millimetres
    distances[:, WIDTH // 2 :] = 3000
    frame = None
    for number in range(1, 20):
        software.see(picture, 33.0 * number)
        software.measure(distances, 33.0 * number)
        frame = eye.next(1.0) or frame
        if frame is not None:
            break
    assert frame is not None and frame.depth is not None
    assert np.array_equal(frame.picture, picture)
    # Where no ray fell, nothing is known.
    left, right = frame.depth[:, : WIDTH // 2 - 1], frame.depth[:, WIDTH // 2 + 1 :]
    assert set(np.unique(left)) <= {0, 800} and set(np.unique(right)) <= {0, 1500}
    assert np.median(left) == 800 and np.median(right) == 1500
    eye.close()


def test_a_camera_without_depth_is_refused_where_depth_is_asked_for(software: SoftwareCamera) -> None:
    with pytest.raises(CameraError, match="has no depth stream of 30 Hz, as aligned_depth needs"):
        camera(software, aligned_depth=True).open()
