"""Which camera a robot profile names."""

from __future__ import annotations

from pathlib import Path

from dygro_ros.cameras.camera import Camera
from dygro_ros.cameras.mcap import McapCamera
from dygro_ros.cameras.realsense import RealSense
from dygro_ros.cameras.video import VideoCamera
from dygro_ros.robot_profile import CameraParameters


def camera_for(parameters: CameraParameters) -> Camera:
    """Return the profile's camera, not yet opened.

    Raises:
        DependencyError: Its library is not installed.
    """
    if parameters.driver == "realsense":
        return RealSense(parameters)
    if Path(parameters.recording).suffix == ".mcap":
        return McapCamera(parameters)
    return VideoCamera(parameters)
