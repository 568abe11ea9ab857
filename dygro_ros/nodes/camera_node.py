"""The camera node: publishes pictures under realsense-ros's names, and brings a lost camera back."""

from __future__ import annotations

import threading
import time

from sensor_msgs.msg import CameraInfo, Image

from dygro_ros.cameras.camera import Camera, CameraError, Frame
from dygro_ros.cameras.drivers import camera_for
from dygro_ros.errors import UserError, run_main
from dygro_ros.nodes.managed import ERROR, NEWEST, OK, ManagedNode, spin
from dygro_ros.nodes.messages import depth_message, image_message
from dygro_ros.robot_profile import CameraParameters

# Without a picture for this long, the camera is reset and opened anew [s].
SILENT_S = 1.0
WAIT_S = 0.1
RETRY_S = 1.0


class CameraNode(ManagedNode):
    """One camera in a thread of its own."""

    def __init__(self) -> None:
        """Declare the parameters."""
        super().__init__("camera_node", CameraParameters)
        self._camera: Camera | None = None
        self._thread: threading.Thread | None = None
        self._ends = threading.Event()
        self._taken, self._reopened, self._complaint = 0, 0, ""

    def prepare(self, parameters: CameraParameters) -> None:
        """Open the camera, so that what is wrong with it is said before anything moves."""
        self._profile = parameters
        camera = camera_for(parameters)
        opened = camera.open()
        self._camera = camera
        self._image = self.create_publisher(Image, f"/{parameters.name}/color/image_raw", NEWEST)
        self._info = self.create_publisher(CameraInfo, f"/{parameters.name}/color/camera_info", NEWEST)
        self._depth = None
        if parameters.aligned_depth:
            topic = f"/{parameters.name}/aligned_depth_to_color/image_raw"
            self._depth = self.create_publisher(Image, topic, NEWEST)
        self.get_logger().info(opened)

    def begin(self) -> None:
        """Publish from now on."""
        self._ends.clear()
        self._thread = threading.Thread(target=self._work, name="camera", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Publish no more."""
        self._ends.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def release(self) -> None:
        """Close the camera."""
        if self._camera is not None:
            self._camera.close()
            for publisher in (self._image, self._info, *([self._depth] if self._depth else [])):
                self.destroy_publisher(publisher)
            self._camera = None

    def status(self) -> tuple[int, str, dict[str, object]]:
        """Return counts, and what is wrong."""
        values: dict[str, object] = {"pictures": self._taken, "opened again": self._reopened}
        return (ERROR if self._complaint else OK), self._complaint, values

    def _work(self) -> None:
        assert self._camera is not None
        heard_s = time.monotonic()
        while not self._ends.is_set():
            try:
                frame = self._camera.next(WAIT_S)
                if frame is None and time.monotonic() - heard_s > SILENT_S:
                    raise CameraError(f"no picture for {time.monotonic() - heard_s:.1f} s")
            except CameraError as error:
                self._bring_back(self._camera, str(error))
                heard_s = time.monotonic()
                continue
            if frame is not None:
                heard_s = time.monotonic()
                self._publish(frame)

    def _publish(self, frame: Frame) -> None:
        parameters = self._profile
        message = image_message(frame.picture, frame.stamp_ns, f"{parameters.name}_color_optical_frame")
        info = CameraInfo(height=message.height, width=message.width)
        info.header = message.header
        self._image.publish(message)
        self._info.publish(info)
        if self._depth is not None and frame.depth is not None:
            self._depth.publish(depth_message(frame.depth, frame.stamp_ns, message.header.frame_id))
        self._taken += 1

    def _bring_back(self, camera: Camera, why: str) -> None:
        self._complaint = why
        self.get_logger().error(f"{why}; resetting the camera")
        camera.reset()
        while not self._ends.wait(RETRY_S):
            try:
                opened = camera.open()
            except UserError as error:
                if str(error) != self._complaint:
                    self._complaint = str(error)
                    self.get_logger().error(self._complaint)
                continue
            self._complaint = ""
            self._reopened += 1
            self.get_logger().warning(f"back again: {opened}")
            return


def main() -> None:
    """Run the camera node."""
    run_main(lambda: spin("camera_node", CameraNode))


if __name__ == "__main__":
    main()
