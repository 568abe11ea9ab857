"""The arm bridge: the only node that commands the arms.

Chunks, measured joints and signs of life come in and are noted; a thread of its own asks the arm controller
once each tick what to send. Services: ~/run, ~/hold, ~/home, ~/stop, ~/reset (std_srvs/Trigger) and
~/use_residual (std_srvs/SetBool). A message on dygro/stop stops as well, whenever it was sent.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from dygro_ros.arm_controller import ArmController, Command, Mode
from dygro_ros.arm_mapping import ArmMapping
from dygro_ros.chunk_schedule import Verdict
from dygro_ros.control_loop import ControlLoop
from dygro_ros.errors import UserError, run_main
from dygro_ros.graph import BRIDGE, POLICY
from dygro_ros.layout import JOINT_NAMES, SIDES
from dygro_ros.nodes.managed import (
    ALIVE_TOPICS,
    ERROR,
    HEARTBEATS,
    LATCHED,
    NEWEST,
    OK,
    RELIABLE,
    WARN,
    ManagedNode,
    spin,
)
from dygro_ros.nodes.messages import chunk_of, joint_state, to_ns, trajectory_message
from dygro_ros.observation_times import ObservationTimes
from dygro_ros.robot_profile import SIDE_SIZE, BridgeParameters
from dygro_ros.watchdog import Level

# How long the arms are given to come to rest when the node is told to end [s].
SETTLE_S = 1.0
AGES_KEPT = 256
# A state's stamp older than this is not of this machine's clock [s].
STATE_OLDEST_S = 0.1
AGE = re.compile(r"\d+ ms old")


class ArmBridge(ManagedNode):
    """Messages around an `ArmController`."""

    def __init__(self) -> None:
        """Declare the parameters."""
        super().__init__("arm_bridge", BridgeParameters)
        self._lock = threading.Lock()
        self._controller: ArmController | None = None
        self._loop: ControlLoop | None = None
        self._made: list[Any] = []
        self._counts: dict[str, int] = {}
        self._ages_s: deque[float] = deque(maxlen=AGES_KEPT)
        self._complaint = ""
        self._mode = self.create_publisher(String, "dygro/mode", LATCHED)
        self._measured = self.create_publisher(JointState, "dygro/joint_states", NEWEST)
        self._sent = self.create_publisher(JointState, "dygro/joint_commands", NEWEST)
        services: dict[str, Callable[[ArmController, float], None]] = {
            "run": lambda controller, now_s: controller.run(now_s),
            "hold": lambda controller, now_s: controller.hold(),
            "home": lambda controller, now_s: controller.home(now_s),
            "stop": lambda controller, now_s: controller.stop("asked to stop"),
            "reset": lambda controller, now_s: controller.reset(now_s),
        }
        for name, action in services.items():
            self.create_service(Trigger, f"~/{name}", partial(self._on_service, action))
        self.create_service(SetBool, "~/use_residual", self._on_use_residual)

    def prepare(self, parameters: BridgeParameters) -> None:
        """Make the controller and listen; nothing is sent before `begin`."""
        self._profile = parameters
        self._controller = ArmController(parameters.controller(), time.monotonic())
        self._observed = ObservationTimes()
        self._last_stamp: dict[str, int] = {}
        self._measured_ns: dict[str, int] = {}
        self._said = ""
        self._mappings = {side: ArmMapping(side, getattr(parameters.arms, side)) for side in SIDES}
        kind = JointState if parameters.driver == "joint_state" else JointTrajectory
        self._commands: dict[str, Publisher] = {}
        for side in SIDES:
            arm = getattr(parameters.arms, side)
            self._made.append(
                self.create_subscription(JointState, arm.state_topic, partial(self._on_state, side), NEWEST)
            )
            self._commands[side] = self.create_publisher(kind, arm.command_topic, RELIABLE)
        for camera, topic in zip(parameters.cameras, parameters.camera_info_topics, strict=True):
            self._made.append(
                self.create_subscription(CameraInfo, topic, partial(self._on_camera, camera), NEWEST)
            )
        self._made += [
            self.create_subscription(JointTrajectory, "dygro/chunk", self._on_chunk, RELIABLE),
            self.create_subscription(
                String, ALIVE_TOPICS + POLICY, partial(self._heard, "policy"), HEARTBEATS
            ),
            self.create_subscription(String, "dygro/operator", partial(self._heard, "operator"), NEWEST),
            self.create_subscription(String, "dygro/stop", self._on_stop, LATCHED),
        ]
        priority = parameters.realtime_priority
        self._loop = ControlLoop(self._tick, 1 / parameters.control_rate_hz, priority=priority)

    def begin(self) -> None:
        """Send commands from now on: to hold, until asked to run."""
        assert self._loop is not None
        self._loop.start()
        self.get_logger().info(f"control loop: scheduling {self._loop.scheduling}")

    def end(self) -> None:
        """Let the arms come to rest, and send no more."""
        if self._controller is None or self._loop is None:
            return
        with self._lock:
            self._controller.stop("the arm bridge was deactivated")
        until_s = time.monotonic() + SETTLE_S
        while self._loop.running and time.monotonic() < until_s:
            with self._lock:
                if self._controller.mode in (Mode.STOPPED, Mode.WAITING):
                    break
            time.sleep(0.01)
        self._loop.stop()

    def release(self) -> None:
        """Listen no more."""
        for subscription in self._made:
            self.destroy_subscription(subscription)
        for publisher in self._commands.values() if self._made else ():
            self.destroy_publisher(publisher)
        self._made, self._controller, self._loop = [], None, None

    def status(self) -> tuple[int, str, dict[str, object]]:
        """Return mode, causes, ages and counts."""
        if self._controller is None or self._loop is None:
            return OK, "not configured", {}
        with self._lock:
            controller, now_s = self._controller, time.monotonic()
            values: dict[str, object] = {"mode": controller.mode.value, "scheduling": self._loop.scheduling}
            values |= self._counts
            for source in controller.config.ages:
                values[f"age of {source} [ms]"] = round(1e3 * controller.watchdog.age_s(source, now_s))
            values["residual"] = controller.schedule.residual
            late, fault = controller.lateness(now_s), controller.fault
        if self._ages_s:
            values["picture to chunk p50 [ms]"] = f"{1e3 * np.percentile(self._ages_s, 50):.1f}"
            values["picture to chunk p99 [ms]"] = f"{1e3 * np.percentile(self._ages_s, 99):.1f}"
        lateness = self._loop.lateness_s()
        if lateness:
            values["tick late p99 [ms]"] = f"{1e3 * np.percentile(lateness, 99):.2f}"
        if self.active and not self._loop.running:
            return ERROR, "the control loop has ended", values
        if fault:
            return ERROR, fault, values
        said = [str(late)] if late.level > Level.FRESH and self.active else []
        said += [self._complaint] if self._complaint else []
        return (WARN if said else OK), "; ".join(said), values

    def _tick(self, now_s: float) -> None:
        assert self._controller is not None
        with self._lock:
            command = self._controller.tick(now_s)
        if command is None:
            return
        stamp_ns = self.get_clock().now().nanoseconds
        for index, side in enumerate(SIDES):
            mapping = self._mappings[side]
            values = mapping.to_driver(command.position[index * SIDE_SIZE : (index + 1) * SIDE_SIZE])
            self._commands[side].publish(self._command_message(mapping.names, values, stamp_ns))
        self._sent.publish(joint_state(JOINT_NAMES, command.position.tolist(), stamp_ns))
        self._say_mode(command)

    def _command_message(self, names: list[str], values: list[float], stamp_ns: int) -> Any:
        if self._profile.driver == "joint_state":
            return joint_state(names, values, stamp_ns)
        # One point, reached after one period: the controller's own interpolation fills the time between.
        period_s = 1 / self._profile.control_rate_hz
        message = trajectory_message(np.array([values]), names, 0, period_s)
        message.points[0].time_from_start.nanosec = round(period_s * 1e9)
        return message

    def _say_mode(self, command: Command) -> None:
        text = f"{command.mode.value}: {command.cause}" if command.cause else command.mode.value
        if text == self._said:
            return
        # An age that grows from tick to tick is news for the mode's topic, not for the log.
        news = AGE.sub("", text) != AGE.sub("", self._said)
        self._said = text
        self._mode.publish(String(data=text))
        if not news:
            return
        if command.mode in (Mode.STOPPING, Mode.STOPPED):
            self.get_logger().error(text)
        else:
            self.get_logger().info(text)

    def _on_state(self, side: str, message: JointState) -> None:
        stamp_ns = to_ns(message.header.stamp)
        # Some drivers repeat the last state for ever, with its stamp, when the arm has fallen silent.
        if stamp_ns and stamp_ns == self._last_stamp.get(side):
            return
        try:
            positions = self._mappings[side].to_joint_units(message.name, message.position)
            with self._lock:
                if self._controller is not None:
                    self._controller.measure(side, positions, time.monotonic())
        except UserError as error:
            self._complain(str(error))
            return
        self._last_stamp[side] = stamp_ns
        # When the joints were measured; some drivers do not say, or count from their own start.
        wall_ns = self.get_clock().now().nanoseconds
        sane = 0 <= wall_ns - stamp_ns <= 1e9 * STATE_OLDEST_S
        self._measured_ns[side] = stamp_ns if sane else wall_ns
        if self.active and len(self._measured_ns) == len(SIDES):
            self._publish_measured()

    def _publish_measured(self) -> None:
        """Tell both arms' joints as soon as both are new: a picture waits for those of its moment."""
        with self._lock:
            if self._controller is None:
                return
            measured = self._controller.measured.tolist()
        stamp_ns = min(self._measured_ns.values())
        self._measured_ns.clear()
        self._measured.publish(joint_state(JOINT_NAMES, measured, stamp_ns))

    def _on_camera(self, camera: str, message: CameraInfo) -> None:
        now_s = time.monotonic()
        wall_ns = self.get_clock().now().nanoseconds
        with self._lock:
            if not self._observed.arrived(to_ns(message.header.stamp), wall_ns, now_s):
                self._complain("a picture's time stamp is not of this machine's clock")
            if self._controller is not None:
                self._controller.heard(camera, now_s)

    def _heard(self, source: str, message: String) -> None:
        with self._lock:
            if self._controller is not None and source in self._controller.config.ages:
                self._controller.heard(source, time.monotonic())

    def _on_chunk(self, message: JointTrajectory) -> None:
        observed_s = self._observed.taken_s(to_ns(message.header.stamp))
        if observed_s is None:
            self._count("chunks of unknown pictures")
            return
        # What the loop is slower than the cell's is as if the picture had been taken earlier.
        observed_s -= self._profile.loop_delay_s
        try:
            names, chunk, base_chunk = chunk_of(message, 1 / self._profile.action_rate_hz)
            with self._lock:
                if self._controller is None:
                    return
                verdict = self._controller.offer(names, chunk, base_chunk, observed_s, time.monotonic())
        except UserError as error:
            self._complain(str(error))
            return
        self._count(f"chunks {verdict.value}")
        self._ages_s.append(time.monotonic() - observed_s)
        if verdict is Verdict.ACCEPTED:
            self._complaint = ""

    def _on_stop(self, message: String) -> None:
        with self._lock:
            if self._controller is not None:
                self._controller.stop(message.data or "stop message")

    def _on_service(
        self,
        action: Callable[[ArmController, float], None],
        request: Trigger.Request,
        response: Trigger.Response,
    ) -> Trigger.Response:
        with self._lock:
            if self._controller is None or not self.active:
                response.success, response.message = False, self.refusal or "the arm bridge is not active"
                return response
            try:
                action(self._controller, time.monotonic())
            except UserError as error:
                response.success, response.message = False, str(error)
                return response
            response.success, response.message = True, self._controller.mode.value
        return response

    def _on_use_residual(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        with self._lock:
            if self._controller is None:
                response.success, response.message = False, "the arm bridge is not configured"
                return response
            self._controller.use_residual(request.data, time.monotonic())
        response.success, response.message = True, "residual on" if request.data else "base policy only"
        return response

    def _count(self, what: str) -> None:
        self._counts[what] = self._counts.get(what, 0) + 1

    def _complain(self, sentence: str) -> None:
        self._count("refused messages")
        if sentence != self._complaint:
            self._complaint = sentence
            self.get_logger().warning(sentence)


def main() -> None:
    """Run the arm bridge."""
    run_main(lambda: spin(BRIDGE, ArmBridge))


if __name__ == "__main__":
    main()
