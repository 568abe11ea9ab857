"""The running nodes as the robot of an evaluation: asks arm bridge and policy node, and records each trial.

Another bundle is opened by taking the policy node through its life cycle; the arms hold meanwhile. Nothing
here commands an arm.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from numpy.typing import NDArray
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float32MultiArray, String
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from dygro_ros.arm_controller import NEEDS_FRESH
from dygro_ros.errors import NotAllowed, UserError
from dygro_ros.evaluation.live_picture import LivePicture
from dygro_ros.evaluation.plan import PlannedTrial, PolicyPlan, TaskPlan
from dygro_ros.evaluation.trial_robot import RobotStatus
from dygro_ros.evaluation.trial_video import TrialVideo
from dygro_ros.graph import BRIDGE, node_names
from dygro_ros.nodes.bridge_client import answer_from, send_operators_heartbeat
from dygro_ros.nodes.managed import LATCHED, NEWEST, OBSERVATIONS, RELIABLE
from dygro_ros.nodes.node_health import NodeHealth
from dygro_ros.nodes.policy_node import OBSERVED_IMAGES, OBSERVED_JOINTS
from dygro_ros.nodes.trial_recorder import TrialRecorder
from dygro_ros.nodes.watching import watch
from dygro_ros.robot_profile import RobotProfile

LOOK_S = 0.02
ANSWER_S, LOADS_S, HOME_S = 5.0, 120.0, 60.0
# Without a picture for this long, no trial begins: the policy would be refused, and the attempt lost [s].
BLIND_S = 1.0
# What is late for longer than this when a trial begins is worth the attempt [s].
FRESHENS_S = 1.0
RECORDED = {
    "dygro/chunk": (JointTrajectory, RELIABLE),
    OBSERVED_IMAGES: (Image, OBSERVATIONS),
    OBSERVED_JOINTS: (JointState, OBSERVATIONS),
    "dygro/joint_states": (JointState, NEWEST),
    "dygro/joint_commands": (JointState, NEWEST),
    "dygro/gates": (Float32MultiArray, RELIABLE),
    "dygro/saturation": (Float32MultiArray, RELIABLE),
    "dygro/latency": (Float32MultiArray, RELIABLE),
    "dygro/mode": (String, LATCHED),
    "dygro/current_instruction": (String, LATCHED),
}


class RosTrialRobot(Node):
    """A `TrialRobot` over ROS 2. Somebody else spins it, in another thread than those that call."""

    def __init__(self, profile: RobotProfile, name: str = "evaluation", *, asks_home: bool = True) -> None:
        """Listen; the nodes may come later.

        Args:
            profile: The robot's.
            name: The node's name.
            asks_home: Whether the arms wait for `home` before each trial.
        """
        super().__init__(name)
        self._mode = ""
        self._health = NodeHealth(node_names(profile))
        self.picture = LivePicture()
        """What the head camera sees."""
        self._lock = threading.Lock()
        self._asks_home, self._wants_home, self._home = asks_home, False, threading.Event()
        self._preparing = threading.Lock()
        self._generation = 0
        self._ready, self._waits_for = False, "no trial has been prepared"
        self._bundle: Path | None = None
        self._asks = {
            service: self.create_client(Trigger, f"arm_bridge/{service}")
            for service in ("run", "hold", "home", "reset")
        }
        self._residual = self.create_client(SetBool, "arm_bridge/use_residual")
        self._change = self.create_client(ChangeState, "policy_node/change_state")
        self._set = self.create_client(SetParameters, "policy_node/set_parameters")
        self._stop = self.create_publisher(String, "dygro/stop", LATCHED)
        self._instruct = self.create_publisher(String, "dygro/instruction", LATCHED)
        send_operators_heartbeat(self, name)
        self.create_subscription(String, "dygro/mode", self._on_mode, LATCHED)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._health.take, 10)
        self._recorder, self._video = TrialRecorder(self, RECORDED), TrialVideo()
        watch(self, profile.policy_node.image_topics[0], self._on_picture)

    def prepare(self, trial: PlannedTrial, task: TaskPlan, policy: PolicyPlan) -> None:
        """Begin to open the policy, say what to do and go home; `status` tells how far it is."""
        with self._lock:
            self._generation += 1
            generation = self._generation
            self._ready, self._waits_for, self._wants_home = False, "the arms", False
            self._home.clear()
        work = threading.Thread(
            target=self._prepare, args=(generation, trial, task, policy), name="prepare", daemon=True
        )
        work.start()

    def home(self) -> None:
        """Let the arms go home."""
        self._home.set()

    def begin(self, recording: Path) -> None:
        """Record, and let the policy move the arms; see `TrialRobot.begin`."""
        self._recorder.begin(recording)
        try:
            self._video.begin(recording)
            self._run()
        except UserError:
            self._close_recording()
            raise
        with self._lock:
            self._ready = False

    def _run(self) -> None:
        """Ask the arms to run, again where something was late only just now: an attempt is worth a moment."""
        until_s = time.monotonic() + FRESHENS_S
        while True:
            try:
                self.ask("run")
                return
            except NotAllowed as error:
                if NEEDS_FRESH not in str(error) or time.monotonic() > until_s:
                    raise
            time.sleep(LOOK_S)

    def stop(self) -> None:
        """Bring the arms to rest, latched: `reset` and `prepare` are needed before they move again."""
        self.stop_arms("the operator stopped the arms")
        with self._lock:
            # Where the arms were on their way home, they are not there once they may move again.
            self._generation += 1
            self._ready, self._waits_for, self._wants_home = False, "a reset", False

    def stop_arms(self, reason: str) -> None:
        """Bring the arms to rest, latched."""
        self._stop.publish(String(data=reason))

    def end(self) -> None:
        """Bring the arms to rest and close the recording; see `TrialRobot.end`."""
        try:
            if self._mode.startswith("running"):
                self.ask("hold")
        finally:
            self._close_recording()

    def _close_recording(self) -> None:
        try:
            self._recorder.end()
        finally:
            self._video.end()

    def reset(self) -> None:
        """Leave a latched stop.

        Raises:
            UserError: The arm bridge refuses, or does not answer.
        """
        self.ask("reset")

    def status(self) -> RobotStatus:
        """Return how the robot is."""
        mode = self._mode
        with self._lock:
            ready, waits_for, wants_home = self._ready, self._waits_for, self._wants_home
        stopped = mode.partition(": ")[2] or mode if mode.startswith("stop") else ""
        silence = self._health.silence(BRIDGE)
        if silence:
            silent = f"{BRIDGE}: {silence}"
            # What it said last stands no more.
            stopped = silent if mode.startswith("running") else ""
            return RobotStatus(waits_for=silent, stopped=stopped, health=self._health.states())
        if ready and not stopped:
            waits_for = "" if mode.startswith("holding") else f"the arms are {mode or 'silent'}"
            waits_for = waits_for or self._blindness()
        return RobotStatus(
            ready=ready and not stopped and not waits_for,
            waits_for="a reset" if stopped else waits_for,
            asks_home=wants_home and not stopped,
            running=mode.startswith("running"),
            stopped=stopped,
            health=self._health.states(),
        )

    def _blindness(self) -> str:
        """Return what is wrong with the head camera's pictures, if anything."""
        age_s = self.picture.age_s()
        if age_s is None:
            return "the head camera's first picture"
        return f"the head camera: no picture for {age_s:.0f} s" if age_s > BLIND_S else ""

    def ask(self, service: str) -> str:
        """Ask the arm bridge and return what it says.

        Raises:
            NotAllowed: It refuses.
            UserError: It does not answer.
        """
        answer = answer_from(self._asks[service], Trigger.Request(), f"arm_bridge/{service}", ANSWER_S)
        if not answer.success:
            raise NotAllowed(str(answer.message))
        return str(answer.message)

    def lay(self, trial: PlannedTrial, current: Callable[[], bool]) -> str | None:
        """Lay the scene where that needs no hands; return what to tell the policy, if anything else.

        Args:
            trial: Whose scene.
            current: Whether this is still what is wanted.
        """
        return None

    def _prepare(self, generation: int, trial: PlannedTrial, task: TaskPlan, policy: PolicyPlan) -> None:
        def current() -> bool:
            return self._generation == generation

        def say(waits_for: str, *, ready: bool = False, wants_home: bool = False) -> None:
            with self._lock:
                if current():
                    self._ready, self._waits_for, self._wants_home = ready, waits_for, wants_home

        # What was wanted before has to give up first: two at once would undo each other's steps.
        with self._preparing:
            self._make_ready(trial, task, policy, current, say)

    def _make_ready(
        self,
        trial: PlannedTrial,
        task: TaskPlan,
        policy: PolicyPlan,
        current: Callable[[], bool],
        say: Callable[..., None],
    ) -> None:
        try:
            say("the arms to rest")
            self.until("the arms to rest", self._rests, HOME_S, current)
            say("the policy")
            self._open(policy)
            residual = SetBool.Request(data=policy.residual)
            answer_from(self._residual, residual, "arm_bridge/use_residual", ANSWER_S)
            instruction = self.lay(trial, current) or task.instruction
            self._instruct.publish(String(data=instruction or ""))
            if self._asks_home:
                say("the word to go home", wants_home=True)
                while not self._home.wait(LOOK_S):
                    if not current():
                        return
            say("the arms to go home")
            self.until("the arms to hold", partial(self._goes_home, say), HOME_S, current)
            self.until("the arms to be home", self._is_home(), HOME_S, current)
        except UserError as error:
            say(str(error))
            return
        say("", ready=True)

    def _rests(self) -> bool:
        return self._mode.startswith(("holding", "stopped"))

    def _goes_home(self, say: Callable[[str], None]) -> bool:
        if not self._mode.startswith("holding"):
            return False
        try:
            self.ask("home")
        except NotAllowed as error:
            # They may be on their way already, for who prepared before.
            say(str(error))
            return False
        return True

    def _is_home(self) -> Callable[[], bool]:
        begun_s = time.monotonic()
        # The bridge says `homing` a moment after it has agreed.
        return lambda: self._mode.startswith("holding") and time.monotonic() - begun_s > 0.2

    def _open(self, policy: PolicyPlan) -> None:
        """Make the policy node run a bundle."""
        if policy.bundle == self._bundle:
            return
        for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
            self._transit(transition)
        self._bundle = None
        wanted = Parameter("bundle", value=str(policy.bundle)).to_parameter_msg()
        request = SetParameters.Request(parameters=[wanted])
        [result] = answer_from(self._set, request, "policy_node/set_parameters", ANSWER_S).results
        if not result.successful:
            raise UserError(f"policy_node: {result.reason}")
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            if not self._transit(transition):
                # It says why on /diagnostics; the bundle's name must not stand on the operator's page.
                raise UserError("the policy cannot be opened: see policy_node's log")
        self._bundle = policy.bundle

    def _transit(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        answer = answer_from(self._change, request, "policy_node/change_state", LOADS_S)
        return bool(answer.success)

    def until(
        self,
        what: str,
        true: Callable[[], bool],
        timeout_s: float,
        current: Callable[[], bool] = lambda: True,
    ) -> None:
        """Wait.

        Raises:
            UserError: It does not happen in time, or another trial is being prepared.
        """
        ends_s = time.monotonic() + timeout_s
        while not true():
            if not current():
                raise UserError("another trial is being prepared")
            if time.monotonic() > ends_s:
                raise UserError(
                    f"waited {timeout_s:g} s for {what}; the arms say {self._mode or 'nothing'!r}"
                )
            time.sleep(LOOK_S)

    def _on_mode(self, message: String) -> None:
        self._mode = message.data

    def _on_picture(self, picture: NDArray[np.uint8], stamp_ns: int) -> None:
        self.picture.put(picture)
        self._video.put(picture, stamp_ns)
