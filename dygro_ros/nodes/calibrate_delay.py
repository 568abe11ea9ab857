"""`dygro-calibrate-delay`: measures how late a picture shows what the arms were told, and notes it.

    dygro-calibrate-delay --robot piper --joint left_joint1

Starts the robot's nodes with a sine in the policy's place, lets both arms go home, and swings one joint for
about a quarter of a minute while the camera looks on. The arm bridge holds the swing against every limit and
watchdog, as it does a policy's chunks. Enter begins; Ctrl-C ends, and the arms come to rest.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import rclpy
from numpy.typing import NDArray
from sensor_msgs.msg import Image, JointState

from dygro_ros.delay_calibration import (
    CELL_LAG_S,
    PERIOD_S,
    CalibrationError,
    judged,
    lag_of_joint,
    lag_of_pictures,
)
from dygro_ros.errors import UserError, run_main
from dygro_ros.graph import processes
from dygro_ros.layout import JOINT_NAMES
from dygro_ros.nodes.bridge_client import ANSWER_S, BridgeClient, send_operators_heartbeat
from dygro_ros.nodes.managed import NEWEST
from dygro_ros.nodes.messages import picture_of, to_ns
from dygro_ros.nodes.participation import participating
from dygro_ros.nodes.sine_node import GROWS_S
from dygro_ros.robot_profile import RobotProfile, profile_path, read_profile
from dygro_ros.start import Graph, overrides_of
from dygro_ros.whole_file import write_text

START_S, HOME_S = 60.0, 60.0
SETTLES_S = 0.5
# A result less certain than this is not noted [s].
LARGEST_ERROR_S = 0.005
_NOTED = re.compile(r"^(\s*loop_delay_s:\s*)[^\s#]+", re.MULTILINE)


class Recorder(BridgeClient):
    """Keeps commands, joints and pictures while they count, and asks the arm bridge to move."""

    def __init__(self, image_topic: str, joint: str) -> None:
        """Listen."""
        super().__init__("delay_calibration", ("arm_bridge/run", "arm_bridge/home", "arm_bridge/hold"))
        self._index = JOINT_NAMES.index(joint)
        self.records = False
        self.commands: list[tuple[int, float]] = []
        self.states: list[tuple[int, float]] = []
        self.pictures: list[tuple[int, NDArray[np.uint8]]] = []
        self.transport_s: list[float] = []
        send_operators_heartbeat(self, "calibration")
        self.create_subscription(JointState, "dygro/joint_commands", self._on_commands, NEWEST)
        self.create_subscription(JointState, "dygro/joint_states", self._on_states, NEWEST)
        self.create_subscription(Image, image_topic, self._on_picture, NEWEST)

    def until(self, what: str, true: Callable[[], bool], timeout_s: float, graph: Graph) -> None:
        """Wait.

        Raises:
            CalibrationError: It does not happen in time.
            UserError: A node has ended.
        """
        ends_s = time.monotonic() + timeout_s
        while not true():
            graph.check()
            if self.mode.startswith("stop"):
                raise CalibrationError(f"the arms are {self.mode}")
            if time.monotonic() > ends_s:
                raise CalibrationError(
                    f"waited {timeout_s:g} s for {what}; the arms say {self.mode or 'nothing'!r}"
                )
            rclpy.spin_once(self, timeout_sec=0.02)

    def listen(self, seconds: float, graph: Graph) -> None:
        """Wait for some time; otherwise as `until`."""
        ends_s = time.monotonic() + seconds
        self.until("time to pass", lambda: time.monotonic() > ends_s, seconds + 1, graph)

    def holds(self) -> bool:
        """Whether the arms are at rest and ready."""
        return self.mode == "holding"

    def runs(self) -> bool:
        """Whether they follow the sine."""
        return self.mode == "running"

    def _on_commands(self, message: JointState) -> None:
        if self.records:
            self.commands.append((to_ns(message.header.stamp), message.position[self._index]))

    def _on_states(self, message: JointState) -> None:
        if self.records:
            self.states.append((to_ns(message.header.stamp), message.position[self._index]))

    def _on_picture(self, message: Image) -> None:
        if not self.records:
            return
        stamp_ns = to_ns(message.header.stamp)
        self.transport_s.append(1e-9 * (self.get_clock().now().nanoseconds - stamp_ns))
        self.pictures.append((stamp_ns, judged(picture_of(message))))


def judge(recorder: Recorder, period_s: float) -> tuple[float, list[str]]:
    """Return what to note as loop_delay_s [s], and what to say.

    Raises:
        CalibrationError: The pictures do not tell, or not well enough.
    """
    if len(recorder.pictures) < 2 or len(recorder.commands) < 2:
        raise CalibrationError(
            f"heard {len(recorder.pictures)} pictures and {len(recorder.commands)} commands: "
            "is the camera's topic policy_node.image_topics[0]?"
        )
    zero_ns = recorder.commands[0][0]
    command_s, command = _series(recorder.commands, zero_ns)
    state_s, state = _series(recorder.states, zero_ns)
    picture_s = np.array([1e-9 * (stamp - zero_ns) for stamp, _ in recorder.pictures])
    grey = np.stack([picture.ravel() for _, picture in recorder.pictures]).astype(np.float64)
    lag = lag_of_pictures(command_s, command, picture_s, grey, period_s)
    if lag.error_s > LARGEST_ERROR_S:
        raise CalibrationError(
            f"the delay is {1e3 * lag.delay_s:.0f} ms give or take {1e3 * lag.error_s:.0f}, expected to know "
            f"it to {1e3 * LARGEST_ERROR_S:.0f}: swing a joint that the camera sees better, or further"
        )
    joint_s = lag_of_joint(command_s, command, state_s, state, period_s)
    transport_s = float(np.median(recorder.transport_s))
    noted_s = max(lag.delay_s - CELL_LAG_S, 0.0)
    return noted_s, [
        f"command to measured joint       {1e3 * joint_s:7.1f} ms",
        f"command to picture's time stamp {1e3 * lag.delay_s:7.1f} ms, give or take {1e3 * lag.error_s:.1f}",
        f"time stamp to arrival           {1e3 * transport_s:7.1f} ms",
        f"the whole loop but inference    {1e3 * (lag.delay_s + transport_s):7.1f} ms",
        f"loop_delay_s: {noted_s:.3f}, the second line less the {1e3 * CELL_LAG_S:.0f} ms of the cell that "
        "the policy learned in; arrival and inference are known from each chunk's own stamp",
    ]


def note(profile: Path, delay_s: float) -> None:
    """Write the delay into the profile's file and leave everything else of it as it is.

    Raises:
        UserError: The file has not one line of it.
    """
    text = profile.read_text(encoding="utf-8")
    if len(_NOTED.findall(text)) != 1:
        raise UserError(f"{profile} must have one line loop_delay_s: to note {delay_s:.3f} in")
    write_text(profile, _NOTED.sub(rf"\g<1>{delay_s:.3f}", text))


def measure(profile: RobotProfile, graph: Graph, joint: str, period_s: float, periods: int) -> Recorder:
    """Go home, swing, and return what was recorded.

    Raises:
        CalibrationError: A node does not come up, or the arms stop.
    """
    recorder = Recorder(profile.policy_node.image_topics[0], joint)
    try:
        recorder.until("the arms to hold", recorder.holds, START_S, graph)
        recorder.until("the arms to go home", lambda: recorder.ask("arm_bridge/home")[0], ANSWER_S, graph)
        recorder.listen(SETTLES_S, graph)
        recorder.until("the arms to be home", recorder.holds, HOME_S, graph)
        recorder.until("the arms to run", lambda: recorder.ask("arm_bridge/run")[0], ANSWER_S, graph)
        recorder.until("the sine", recorder.runs, ANSWER_S, graph)
        recorder.listen(2 * GROWS_S, graph)
        recorder.records = True
        recorder.listen((periods + 0.1) * period_s, graph)
        recorder.records = False
        recorder.ask("arm_bridge/hold")
        recorder.until("the arms to hold", recorder.holds, ANSWER_S, graph)
    finally:
        recorder.destroy_node()
    return recorder


def calibrate(arguments: Sequence[str] | None = None) -> int:
    """Measure, say and note; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="dygro-calibrate-delay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--robot", required=True, help="name of a robot profile, or path of its YAML file")
    parser.add_argument(
        "--joint", default="left_joint1", choices=JOINT_NAMES, metavar="NAME", help="%(default)s"
    )
    parser.add_argument(
        "--amplitude", type=float, default=0.1, metavar="RAD", help="of the swing (%(default)s)"
    )
    parser.add_argument("--periods", type=int, default=8, help=f"of {PERIOD_S:.2f} s each (%(default)s)")
    parser.add_argument("--yes", action="store_true", help="begin without asking")
    parser.add_argument("--dry-run", action="store_true", help="do not note the result in the profile")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NODE.PARAMETER=VALUE", help="differ from the profile"
    )
    options = parser.parse_args(arguments)
    if options.periods < 3:
        raise UserError(f"--periods must be at least 3, got {options.periods}")
    path = profile_path(options.robot)
    profile = read_profile(path)
    overrides = overrides_of(options.set)
    overrides["policy_node"] = overrides.get("policy_node", {}) | {
        "joint": options.joint,
        "amplitude_rad": options.amplitude,
        "period_s": PERIOD_S,
        "action_rate_hz": profile.arm_bridge.action_rate_hz,
    }
    nodes = processes(path, overrides, {"policy_node": "dygro_ros.nodes.sine_node"})
    if not options.yes:
        print(
            f"Both arms will go home, then {options.joint} swings by {options.amplitude:g} rad for "
            f"{options.periods * PERIOD_S:.0f} s. Keep the arms' own stop within reach. Enter begins: ",
            end="",
            flush=True,
        )
        if not sys.stdin.readline():
            raise UserError("expected Enter before the arms move, but there is nobody to press it; see --yes")
    with Graph(nodes) as graph, participating():
        recorder = measure(profile, graph, options.joint, PERIOD_S, options.periods)
    delay_s, lines = judge(recorder, PERIOD_S)
    print("\n".join(lines))
    if options.dry_run:
        print(f"{path} was left as it is")
    else:
        note(path, delay_s)
        print(f"noted in {path}")
    return 0


def _series(
    entries: list[tuple[int, float]], zero_ns: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    times, values = zip(*entries, strict=True)
    return 1e-9 * (np.array(times) - zero_ns), np.array(values)


def main() -> None:
    """Run the command."""
    run_main(calibrate)


if __name__ == "__main__":
    main()
