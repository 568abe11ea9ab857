"""The whole robot side in one process, without any middleware: camera, policy, controller, arms.

Wires the same components as the nodes do. For a robot whose arms have a Python driver, for measurements, and
for tests; an operator's robot runs the nodes, in which one process may die without taking the others along.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dygro_ros.arm_controller import ArmController, Command
from dygro_ros.cameras.camera import Camera
from dygro_ros.control_loop import ControlLoop
from dygro_ros.errors import UserError
from dygro_ros.inference import OnnxPolicy
from dygro_ros.layout import JOINT_NAMES, SIDES
from dygro_ros.observation_times import ObservationTimes
from dygro_ros.policy_worker import Answer, PolicyWorker
from dygro_ros.robot_profile import SIDE_SIZE, RobotProfile

Array = NDArray[np.float64]

WAIT_S = 0.1
_LOG = logging.getLogger(__name__)


class Arms(Protocol):
    """Both arms, in joint units; called from the control loop only, so it must not wait."""

    def measured(self) -> dict[str, Array]:
        """Return newly measured joints, (7,), of each side that was heard since the last call."""

    def command(self, position: Array) -> None:
        """Send drive targets, (14,)."""


class Runtime:
    """A robot that runs a policy."""

    def __init__(
        self,
        profile: RobotProfile,
        policy: OnnxPolicy,
        camera: Camera,
        arms: Arms,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
        commanded: Callable[[Command, float], None] = lambda command, now_s: None,
    ) -> None:
        """Wire the parts; `start` begins.

        Args:
            profile: The robot; one camera.
            policy: Warmed up.
            camera: Opened here, and closed by `stop`.
            arms: Both arms.
            clock: Monotonic clock [s].
            wall_ns: Wall clock of the pictures' stamps [ns].
            commanded: Told of each command, in the control loop.

        Raises:
            UserError: The profile has another number of cameras than one, or does not fit the bundle.
        """
        cameras = profile.arm_bridge.cameras
        if len(cameras) != 1:
            raise UserError(f"the in-process runtime takes one camera, the profile has {', '.join(cameras)}")
        policy.bundle.require_cameras(cameras)
        self._camera_name = cameras[0]
        self._camera, self._arms = camera, arms
        self._clock, self._wall_ns, self._commanded = clock, wall_ns, commanded
        self._lock = threading.Lock()
        self._controller = ArmController(profile.arm_bridge.controller(), clock())
        self._observed = ObservationTimes()
        self._loop_delay_s = profile.arm_bridge.loop_delay_s
        self.answers: deque[Answer] = deque(maxlen=256)
        """The last answers of the policy."""
        self._worker = PolicyWorker(
            policy,
            profile.policy_node.crops,
            pacing=profile.policy_node.pacing(policy.bundle.manifest.action),
            instruction=profile.policy_node.instruction,
            answer=self._on_answer,
            fault=_LOG.error,
            clock=clock,
            wall_ns=wall_ns,
        )
        self.loop = ControlLoop(
            self._tick,
            1 / profile.arm_bridge.control_rate_hz,
            priority=profile.arm_bridge.realtime_priority,
            clock=clock,
        )
        self._ends = threading.Event()
        self._camera_thread: threading.Thread | None = None

    def start(self) -> None:
        """Open the camera and begin to hold.

        Raises:
            CameraError: The camera cannot be opened.
        """
        _LOG.info("camera: %s", self._camera.open())
        self._ends.clear()
        self._camera_thread = threading.Thread(target=self._watch, name="camera", daemon=True)
        self._camera_thread.start()
        self._worker.start()
        self.loop.start()
        _LOG.info("control loop: scheduling %s", self.loop.scheduling)

    def stop(self) -> None:
        """Send no more commands, and close the camera."""
        self.loop.stop()
        self._worker.stop()
        self._ends.set()
        if self._camera_thread is not None:
            self._camera_thread.join()
            self._camera_thread = None
        self._camera.close()

    def ask(self, action: Callable[[ArmController, float], None]) -> None:
        """Do something with the controller, such as `lambda controller, now_s: controller.run(now_s)`.

        Raises:
            UserError: The controller refuses.
        """
        with self._lock:
            action(self._controller, self._clock())

    def instruct(self, instruction: str) -> None:
        """Set what to do."""
        self._worker.instruct(instruction)

    def _watch(self) -> None:
        while not self._ends.is_set():
            try:
                frame = self._camera.next(WAIT_S)
            except UserError as error:
                # The controller notices the silence; what it does about it needs no help from here.
                _LOG.error("camera: %s", error)
                return
            if frame is None:
                continue
            with self._lock:
                now_s = self._clock()
                self._observed.arrived(frame.stamp_ns, self._wall_ns(), now_s)
                self._controller.heard(self._camera_name, now_s)
            self._worker.see(0, frame.stamp_ns, frame.picture)

    def _on_answer(self, answer: Answer) -> None:
        self.answers.append(answer)
        with self._lock:
            observed_s = self._observed.taken_s(answer.stamp_ns)
            if observed_s is None:
                return
            output = answer.output
            try:
                self._controller.offer(
                    JOINT_NAMES,
                    output.chunk.astype(np.float64),
                    output.base_chunk.astype(np.float64),
                    observed_s - self._loop_delay_s,
                    self._clock(),
                )
            except UserError as error:
                _LOG.error("%s", error)

    def _tick(self, now_s: float) -> None:
        measured = self._arms.measured()
        with self._lock:
            for side, joints in measured.items():
                self._controller.measure(side, joints, now_s)
            if self._worker.alive:
                self._controller.heard("policy", now_s)
            command = self._controller.tick(now_s)
            state = self._controller.measured.astype(np.float32)
        if command is not None:
            self._worker.measure(self._wall_ns(), state)
            self._arms.command(command.position)
            self._commanded(command, now_s)


def by_side(joints: Array) -> dict[str, Array]:
    """Return both arms' joints, (14,), by side."""
    return {side: joints[i * SIDE_SIZE : (i + 1) * SIDE_SIZE] for i, side in enumerate(SIDES)}
