"""A RealSense through librealsense: its colour stream, with exposure and white balance locked.

pyrealsense2 is imported when a camera is opened, not before, and needs libusb-1.0; where the system has none,
that of the package libusb-package is loaded first.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import time
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dygro_ros.cameras.camera import CameraError, Frame
from dygro_ros.errors import DependencyError
from dygro_ros.robot_profile import CameraParameters

# librealsense counts the exposure of a colour sensor in units of this [us].
EXPOSURE_UNIT_US = 100


def librealsense() -> ModuleType:
    """Return pyrealsense2.

    Raises:
        DependencyError: It or libusb-1.0 is not installed; says what to install.
    """
    try:
        package = importlib.import_module("libusb_package")
        ctypes.CDLL(str(package.get_library_path()), mode=ctypes.RTLD_GLOBAL)
    except (ImportError, OSError):
        pass  # The system's own may be there: the import below tells.
    try:
        return importlib.import_module("pyrealsense2")
    except ImportError as error:
        raise DependencyError(
            f"driver realsense needs pyrealsense2 and libusb-1.0 ({error}): "
            "pip install pyrealsense2 libusb-package"
        ) from error


class RealSense:
    """The colour camera of one RealSense."""

    def __init__(
        self,
        parameters: CameraParameters,
        *,
        devices: Callable[[], Iterable[Any]] | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Take serial number and profile from the robot's profile.

        Args:
            parameters: The profile's section.
            devices: Lists librealsense's devices; those that are connected by default.
            wall_ns: The wall clock [ns].

        Raises:
            DependencyError: pyrealsense2 cannot be imported.
        """
        self._rs = librealsense()
        self._parameters = parameters
        self._devices = self._rs.context().query_devices if devices is None else devices
        self._wall_ns = wall_ns
        self._device: Any = None
        self._sensors: list[Any] = []
        self._queue: Any = None
        self._align = self._rs.align(self._rs.stream.color)
        self._depth_unit_mm = 1.0

    def open(self) -> str:
        """Find the device, lock its exposure and white balance, start the stream; see `Camera.open`."""
        self.close()
        device = self._find()
        sensor, profile = self._colour(device)
        self._lock(sensor)
        streams = [(sensor, profile)]
        if self._parameters.aligned_depth:
            streams.append(self._depth(device))
            self._depth_unit_mm = 1e3 * streams[1][0].get_option(self._rs.option.depth_units)
        queue = self._rs.syncer() if self._parameters.aligned_depth else self._rs.frame_queue(1)
        self._device, self._queue = device, queue
        try:
            for opened in dict.fromkeys(sensor for sensor, _ in streams):
                self._sensors.append(opened)
                opened.open([profile for sensor, profile in streams if sensor is opened])
                opened.start(queue)
        except RuntimeError as error:
            self.close()
            raise CameraError(f"RealSense {self._parameters.serial_no} does not start: {error}") from error
        return (
            f"{_info(self._rs, device, 'name')}, serial number {self._parameters.serial_no}, firmware "
            f"{_info(self._rs, device, 'firmware_version')}, {self._parameters.width} x "
            f"{self._parameters.height} at {self._parameters.rate_hz:g} Hz"
        )

    def next(self, timeout_s: float) -> Frame | None:
        """Return the next picture; see `Camera.next`."""
        timeout_ms = round(1e3 * timeout_s)
        try:
            if self._parameters.aligned_depth:
                found, frames = self._queue.try_wait_for_frames(timeout_ms)
                # Depth alone, or colour alone, is half of a frame.
                if not found or not (frames.get_color_frame() and frames.get_depth_frame()):
                    return None
                aligned = self._align.process(frames)
                frame, depth = frames.get_color_frame(), self._millimetres(aligned.get_depth_frame())
            else:
                found, frame = self._queue.try_wait_for_frame(timeout_ms)
                depth = None
        except RuntimeError as error:
            raise CameraError(f"RealSense {self._parameters.serial_no} has gone: {error}") from error
        if not found:
            return None
        # librealsense uses the buffer again.
        picture = np.array(np.asanyarray(frame.get_data()), dtype=np.uint8)
        wanted = (self._parameters.height, self._parameters.width, 3)
        if picture.shape != wanted:
            raise CameraError(f"expected a picture of shape {wanted}, the camera sent {picture.shape}")
        domain = self._rs.timestamp_domain
        of_wall_clock = frame.get_frame_timestamp_domain() in (domain.system_time, domain.global_time)
        stamp_ns = round(1e6 * frame.get_timestamp()) if of_wall_clock else self._wall_ns()
        return Frame(picture, stamp_ns, depth)

    def _millimetres(self, frame: Any) -> NDArray[np.uint16]:
        distances = np.round(np.asanyarray(frame.get_data()) * self._depth_unit_mm)
        found: NDArray[np.uint16] = np.minimum(distances, np.iinfo(np.uint16).max).astype(np.uint16)
        return found

    def reset(self) -> None:
        """Reset the device, as pulling and returning its plug would."""
        device, self._device = self._device, None
        self.close()
        if device is not None:
            # Where it is not there, returning its plug is the reset.
            with contextlib.suppress(RuntimeError):
                device.hardware_reset()

    def close(self) -> None:
        """Stop the streams."""
        sensors, self._sensors, self._queue = self._sensors, [], None
        for sensor in sensors:
            for step in (sensor.stop, sensor.close):
                # A device that has gone cannot be stopped.
                with contextlib.suppress(RuntimeError):
                    step()

    def _find(self) -> Any:
        serial_no = self._parameters.serial_no
        found = {_info(self._rs, device, "serial_number"): device for device in self._devices()}
        if not serial_no:
            raise CameraError(
                "camera_node.serial_no must name the RealSense that looks at the table; connected: "
                f"{', '.join(found) or 'none'}"
            )
        if serial_no not in found:
            raise CameraError(
                f"no RealSense with serial number {serial_no} is connected; connected: "
                f"{', '.join(found) or 'none'}"
            )
        return found[serial_no]

    def _colour(self, device: Any) -> tuple[Any, Any]:
        rs, wanted = self._rs, self._parameters
        seen = set()
        for sensor in device.query_sensors():
            for profile in sensor.get_stream_profiles():
                if profile.stream_type() != rs.stream.color or profile.format() != rs.format.rgb8:
                    continue
                video = profile.as_video_stream_profile()
                size = (video.width(), video.height(), profile.fps())
                if size == (wanted.width, wanted.height, round(wanted.rate_hz)):
                    return sensor, profile
                seen.add(size)
        offers = ", ".join(f"{w} x {h} at {fps} Hz" for w, h, fps in sorted(seen)) or "none"
        raise CameraError(
            f"RealSense {wanted.serial_no} has no RGB stream of {wanted.width} x {wanted.height} px at "
            f"{wanted.rate_hz:g} Hz; it offers {offers}"
        )

    def _depth(self, device: Any) -> tuple[Any, Any]:
        rs, rate = self._rs, round(self._parameters.rate_hz)
        for sensor in device.query_sensors():
            for profile in sensor.get_stream_profiles():
                found = (profile.stream_type(), profile.format(), profile.fps())
                if found == (rs.stream.depth, rs.format.z16, rate):
                    return sensor, profile
        raise CameraError(
            f"RealSense {self._parameters.serial_no} has no depth stream of {rate} Hz, as aligned_depth needs"
        )

    def _lock(self, sensor: Any) -> None:
        option = self._rs.option
        values = (
            (option.enable_auto_exposure, option.exposure, self._parameters.exposure_us / EXPOSURE_UNIT_US),
            (option.enable_auto_white_balance, option.white_balance, self._parameters.white_balance_k),
        )
        for automatic, manual, value in values:
            if not sensor.supports(automatic):
                continue
            sensor.set_option(automatic, 0 if value else 1)
            if value:
                sensor.set_option(manual, value)


def describe(rs: ModuleType) -> list[tuple[str, str]]:
    """Return serial number and description of each RealSense that is connected."""
    found = []
    for device in rs.context().query_devices():
        name, serial, firmware, usb = (
            _info(rs, device, key)
            for key in ("name", "serial_number", "firmware_version", "usb_type_descriptor")
        )
        found.append((serial, f"{name}, serial number {serial}, firmware {firmware}, USB {usb}"))
    return found


def _info(rs: ModuleType, device: Any, name: str) -> str:
    key = getattr(rs.camera_info, name)
    return str(device.get_info(key)) if device.supports(key) else "unknown"
