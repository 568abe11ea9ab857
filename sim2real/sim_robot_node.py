"""The simulated robot as a ROS 2 node: its own camera and arm drivers, in real time.

It publishes and takes what a real robot's drivers do, so that nothing else knows the difference. The services
~/next_episode and ~/same_episode (std_srvs/Trigger) lay the objects anew; ~/episode tells how it stands.
"""

from __future__ import annotations

import json
import threading
import time
from functools import partial
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from dygro_ros.control_loop import ControlLoop
from dygro_ros.errors import UserError, run_main
from dygro_ros.graph import SIM_ROBOT
from dygro_ros.layout import JOINT_NAMES, SIDES
from dygro_ros.nodes.managed import LATCHED, NEWEST, OK, RELIABLE, ManagedNode, spin
from dygro_ros.nodes.messages import image_message, joint_state
from dygro_ros.robot_profile import SIDE_SIZE, Section
from sim2real.cell.randomization import RandomizationConfig
from sim2real.cell.work_cell import WorkCell
from sim2real.sim_robot import PERIOD_S, EpisodeResult, SimRobot

EPISODE_PERIOD_S = 0.1


class SimRobotParameters(Section):
    """What is simulated."""

    task: str
    seed: Annotated[int, Field(ge=0)]
    """Simulator seed of the first episode; the next ones count up."""
    randomization: str
    """clean or randomized."""
    image_size: Annotated[int, Field(ge=16, le=2048)]
    """Height and width of the pictures [px]."""
    wrist_cameras: bool
    camera_rate_hz: Annotated[float, Field(gt=0)]
    camera_delay_s: Annotated[float, Field(ge=0)]
    """Injected delay of pictures [s]."""
    command_delay_s: Annotated[float, Field(ge=0)]
    """Injected delay of commands [s]."""


class SimRobotNode(ManagedNode):
    """Messages around a `SimRobot`."""

    def __init__(self) -> None:
        """Declare the parameters."""
        super().__init__("sim_robot", SimRobotParameters, changeable=("task", "seed"))
        self._lock = threading.Lock()
        self._robot: SimRobot | None = None
        self._loop: ControlLoop | None = None
        # Result and instruction, for whoever must not wait for a rendering.
        self._known = (EpisodeResult("", 0, False, False, 0.0), "")
        self._said: EpisodeResult | None = None
        self._episode = self.create_publisher(String, "sim_robot/episode", LATCHED)
        self._states = {
            side: self.create_publisher(JointState, f"/{side}_arm/joint_states", NEWEST) for side in SIDES
        }
        for side in SIDES:
            self.create_subscription(
                JointState, f"/{side}_arm/joint_commands", partial(self._on_command, side), RELIABLE
            )
        self.create_service(Trigger, "~/next_episode", partial(self._on_episode, 1))
        self.create_service(Trigger, "~/same_episode", partial(self._on_episode, 0))
        self.create_timer(EPISODE_PERIOD_S, self._say_episode)

    def prepare(self, parameters: SimRobotParameters) -> None:
        """Compile the scene and open the renderer."""
        cell = WorkCell(
            RandomizationConfig.from_name(parameters.randomization),
            image_size=parameters.image_size,
            wrist_cameras=parameters.wrist_cameras,
        )
        robot = SimRobot(
            cell,
            camera_rate_hz=parameters.camera_rate_hz,
            camera_delay_s=parameters.camera_delay_s,
            command_delay_s=parameters.command_delay_s,
        )
        robot.reset(parameters.task, parameters.seed, time.monotonic())
        self._pictures = [
            self.create_publisher(Image, f"/{name}/color/image_raw", NEWEST) for name in cell.cameras
        ]
        self._infos = [
            self.create_publisher(CameraInfo, f"/{name}/color/camera_info", NEWEST) for name in cell.cameras
        ]
        self._target = {side: None for side in SIDES}
        self._robot = robot
        self._note()
        # Pictures are rendered in the loop's thread, so what renders them has to be closed there.
        # The first one takes up to half a second, in which no sign of life would come.
        self._loop = ControlLoop(self._tick, PERIOD_S, prepare=lambda: cell.images(), finish=cell.close)

    def begin(self) -> None:
        """Let time pass."""
        assert self._loop is not None
        self._loop.start()

    def end(self) -> None:
        """Let time stand still."""
        if self._loop is not None:
            self._loop.stop()

    def release(self) -> None:
        """Close the renderer."""
        if self._robot is not None:
            for publisher in (*self._pictures, *self._infos):
                self.destroy_publisher(publisher)
        self._robot, self._loop = None, None

    def status(self) -> tuple[int, str, dict[str, object]]:
        """Return the episode."""
        if self._robot is None:
            return OK, "not configured", {}
        return OK, "", dict(vars(self._known[0]))

    def _tick(self, now_s: float) -> None:
        assert self._robot is not None
        with self._lock:
            pictures = self._robot.advance_to(now_s)
            measured = self._robot.measured()
            self._note()
        wall_ns = self.get_clock().now().nanoseconds
        for index, side in enumerate(SIDES):
            values = measured[index * SIDE_SIZE : (index + 1) * SIDE_SIZE]
            names = JOINT_NAMES[index * SIDE_SIZE : (index + 1) * SIDE_SIZE]
            self._states[side].publish(joint_state(names, values, wall_ns))
        for picture in pictures:
            stamp_ns = wall_ns - round((now_s - picture.taken_s) * 1e9)
            for camera, image in enumerate(picture.images):
                message = image_message(image, stamp_ns, "head_camera_color_optical_frame")
                self._pictures[camera].publish(message)
                info = CameraInfo(height=image.shape[0], width=image.shape[1])
                info.header = message.header
                self._infos[camera].publish(info)

    def _on_command(self, side: str, message: JointState) -> None:
        """Drive one arm, as a driver does: it heeds names and nothing else."""
        index = SIDES.index(side)
        names = JOINT_NAMES[index * SIDE_SIZE : (index + 1) * SIDE_SIZE]
        found = dict(zip(message.name, message.position, strict=False))
        if not self.active or self._robot is None or set(found) != set(names):
            return
        self._target[side] = np.array([found[name] for name in names])
        if side == SIDES[-1] and self._target[SIDES[0]] is not None:
            with self._lock:
                self._robot.command(np.concatenate([self._target[s] for s in SIDES]), time.monotonic())

    def _on_episode(self, step: int, request: Any, response: Trigger.Response) -> Trigger.Response:
        if self._robot is None:
            response.success, response.message = False, self.refusal or "not configured"
            return response
        task = self.get_parameter("task").value
        with self._lock:
            seed = self._robot.result.seed + step if step else self.get_parameter("seed").value
            try:
                self._robot.reset(task, seed, time.monotonic())
            except UserError as error:
                response.success, response.message = False, str(error)
                return response
            self._note()
            instruction = self._robot.cell.instruction
        response.success, response.message = True, instruction
        return response

    def _note(self) -> None:
        assert self._robot is not None
        self._known = (self._robot.result, self._robot.cell.instruction)

    def _say_episode(self) -> None:
        if self._robot is None:
            return
        result, instruction = self._known
        if result != self._said:
            self._said = result
            self._episode.publish(String(data=json.dumps(vars(result) | {"instruction": instruction})))


def main() -> None:
    """Run the simulated robot."""
    run_main(lambda: spin(SIM_ROBOT, SimRobotNode))


if __name__ == "__main__":
    main()
