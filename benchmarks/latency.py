"""What a chunk costs: the graph by ONNX Runtime, and everything around it, from picture to arm controller.

    python benchmarks/latency.py --bundle runs/nano/bundle

In one process and through the nodes, with a camera of 640 x 480 px at 30 Hz. `around the model` is the time
from the picture's stamp to the moment at which the arm controller has the chunk, less the time inside the
graph and less that in which the picture waits for joints measured after it: in one process those come with
the next control tick. `tick late` is how late the control loop was called.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Float32MultiArray
from trajectory_msgs.msg import JointTrajectory

from dygro_ros.bundle import Bundle, read_bundle
from dygro_ros.cameras.camera import Frame
from dygro_ros.control_loop import ControlLoop
from dygro_ros.errors import UserError, run_main
from dygro_ros.graph import SUPERVISOR, SUPERVISOR_MODULE, NodeProcess, overrides_for, processes
from dygro_ros.inference import ENGINE, PROVIDERS, OnnxPolicy
from dygro_ros.layout import JOINT_NAMES, SIDES
from dygro_ros.nodes.managed import NEWEST, NO_PUBLISHER_EVENTS, NO_SUBSCRIPTION_EVENTS, RELIABLE
from dygro_ros.nodes.messages import chunk_of, image_message, joint_state, to_ns
from dygro_ros.nodes.participation import participating
from dygro_ros.policy_worker import Answer
from dygro_ros.robot_profile import SIDE_SIZE, RobotProfile, read_profile
from dygro_ros.runtime import Runtime, by_side
from dygro_ros.start import Graph
from models.dygro_policy import DygroPolicy
from sim2real.cell.world import CellWorld
from training.config import preset
from training.stage_one import build_residual, load_base_policy

WIDTH, HEIGHT, RATE_HZ = 640, 480, 30.0
CROP = (0.125, 0.0, 0.875, 1.0)
EVERY_PICTURE = {"interval_s": 0.0, "whole_within_s": 0.0}
INSTRUCTION = "put the cup on the coaster"
ALTERNATIONS, THREADS = 300, (1, 2)
STAGE_ONE = "stage_one"
# Joints are published this many times as often as pictures.
JOINTS_A_PICTURE = 4
# Answers left out at the beginning, and the time that the nodes take to come up [s].
WARM, START_S = 10, 6.0
# Played whole, chunks are asked for seldom: to see as many, more time is needed.
PROFILES_SHARE = 4


def say(what: str, values_s: Sequence[float]) -> None:
    """Print the middle and the tail of some times."""
    p50, p99 = (1e3 * float(np.percentile(values_s, q)) for q in (50, 99))
    print(f"{what:42s} p50 {p50:6.2f} ms   p99 {p99:6.2f} ms   ({len(values_s)} times)", flush=True)


def pictures() -> list[NDArray[np.uint8]]:
    """Return a few pictures to send in turn."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(4)]


def profile() -> RobotProfile:
    """Return the simulated robot's profile, with a larger picture, and each picture answered."""
    found = read_profile("sim")
    policy = found.policy_node.model_copy(update={"instruction": INSTRUCTION, **EVERY_PICTURE, "crop": CROP})
    return found.model_copy(update={"policy_node": policy})


class Eye:
    """A camera that always has a picture in time."""

    def __init__(self) -> None:
        self._pictures, self._due_s, self._number = pictures(), time.monotonic(), 0

    def open(self) -> str:
        """Begin."""
        return f"{WIDTH} x {HEIGHT} at {RATE_HZ:g} Hz"

    def next(self, timeout_s: float) -> Frame | None:
        """Return the next picture when it is due."""
        time.sleep(max(self._due_s - time.monotonic(), 0.0))
        self._due_s += 1 / RATE_HZ
        self._number += 1
        return Frame(self._pictures[self._number % len(self._pictures)], time.time_ns())

    def reset(self) -> None:
        """Nothing to bring back."""

    def close(self) -> None:
        """Nothing to close."""


class Follower:
    """Arms that follow at once."""

    def __init__(self, start: NDArray[np.float64]) -> None:
        self.position = start

    def measured(self) -> dict[str, NDArray[np.float64]]:
        """Return both arms' joints."""
        return by_side(self.position)

    def command(self, position: NDArray[np.float64]) -> None:
        """Be there."""
        self.position = position


class TimedRuntime(Runtime):
    """A runtime that notes when the controller has a chunk."""

    def __init__(self, policy: OnnxPolicy) -> None:
        self.around_s: list[float] = []
        self.waited_s: list[float] = []
        home = profile().arm_bridge.controller().home
        super().__init__(profile(), policy, Eye(), Follower(home))

    def _on_answer(self, answer: Answer) -> None:
        super()._on_answer(answer)
        within_s = answer.output.latency_s + answer.waited_s
        self.around_s.append(1e-9 * (time.time_ns() - answer.stamp_ns) - within_s)
        self.waited_s.append(answer.waited_s)


def against_torch(bundle: Bundle, run: Path, threads: int) -> None:
    """Compare each backend that runs here with the same policy in eager torch, on one frame, in turn."""
    torch.set_num_threads(threads)
    base = load_base_policy(run / STAGE_ONE)
    # Weights do not change what it costs; the experts' shapes are the preset's.
    eager = DygroPolicy(base, build_residual(base, preset("nano").residual, CellWorld())).eval()
    arrays = (bundle.golden.images[0], bundle.golden.instruction[0], bundle.golden.proprio[0])
    tensors = tuple(torch.from_numpy(array.copy())[None] for array in arrays)
    policies: dict[str, OnnxPolicy] = {}
    for provider in (*PROVIDERS, ENGINE):
        try:
            policies[provider] = OnnxPolicy(bundle, provider=provider, threads=threads)
        except UserError as error:
            print(f"{provider} does not run here: {error}")
    times: dict[str, list[float]] = {"torch, eager": []} | {name: [] for name in policies}
    with torch.inference_mode():
        for _ in range(ALTERNATIONS):
            begun_s = time.perf_counter()
            eager(*tensors)
            times["torch, eager"].append(time.perf_counter() - begun_s)
            for name, policy in policies.items():
                times[name].append(policy.infer_arrays(*arrays).latency_s)
    middle_s = {name: float(np.median(values[WARM:])) for name, values in times.items()}
    for name, values in times.items():
        say(f"{name}, {threads} threads", values[WARM:])
        if name in policies:
            print(f"{'':42s} {middle_s['torch, eager'] / middle_s[name]:.2f} times as fast as torch")


def in_process(policy: OnnxPolicy, seconds: float) -> None:
    """Measure the in-process runtime."""
    runtime = TimedRuntime(policy)
    runtime.start()
    time.sleep(seconds)
    runtime.stop()
    say("one process: inside the graph", [answer.output.latency_s for answer in runtime.answers])
    say("one process: around the model", runtime.around_s[WARM:])
    say("one process: waiting for joints", runtime.waited_s[WARM:])
    say("one process: tick late", runtime.loop.lateness_s()[WARM:])


class Robot(Node):
    """Feeds the nodes as a robot's drivers do, and takes their chunks as the arm bridge does."""

    def __init__(self) -> None:
        super().__init__("latency")
        self._period_s = 1 / profile().arm_bridge.action_rate_hz
        self._home = profile().arm_bridge.controller().home
        sends = partial(self.create_publisher, event_callbacks=NO_PUBLISHER_EVENTS)
        self._joints = {side: sends(JointState, f"/{side}_arm/joint_states", NEWEST) for side in SIDES}
        self._image = sends(Image, "/head_camera/color/image_raw", NEWEST)
        self._info = sends(CameraInfo, "/head_camera/color/camera_info", NEWEST)
        # Made once, as a driver fills its own buffer; what it costs to make one is the driver's.
        self._messages = [image_message(picture, 0, "head_camera") for picture in pictures()]
        self._number = 0
        self.age_s: list[float] = []
        self.ready_s: list[float] = []
        self.inside_s: list[float] = []
        self.waited_s: list[float] = []
        self.late = ""
        hears = partial(self.create_subscription, event_callbacks=NO_SUBSCRIPTION_EVENTS)
        hears(JointTrajectory, "dygro/chunk", self._on_chunk, RELIABLE)
        hears(Float32MultiArray, "dygro/latency", self._on_latency, RELIABLE)
        hears(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def feed(self, now_s: float) -> None:
        """Publish joints, and each fourth time a picture."""
        stamp = self.get_clock().now().to_msg()
        for side, joints in by_side(self._home).items():
            names = JOINT_NAMES[SIDES.index(side) * SIDE_SIZE :][:SIDE_SIZE]
            self._joints[side].publish(joint_state(names, joints.tolist(), to_ns(stamp)))
        if self._number % JOINTS_A_PICTURE == 0:
            message = self._messages[self._number // JOINTS_A_PICTURE % len(self._messages)]
            message.header.stamp = stamp
            info = CameraInfo(height=HEIGHT, width=WIDTH)
            info.header = message.header
            self._info.publish(info)
            self._image.publish(message)
        self._number += 1

    def _on_chunk(self, message: JointTrajectory) -> None:
        chunk_of(message, self._period_s)
        stamp_ns = to_ns(message.header.stamp)
        self.age_s.append(1e-9 * (self.get_clock().now().nanoseconds - stamp_ns))

    def _on_latency(self, message: Float32MultiArray) -> None:
        # Sent right after the chunk of the same answer.
        self.ready_s.append(message.data[0])
        self.inside_s.append(message.data[2])
        self.waited_s.append(message.data[3])

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == "arm_bridge":
                self.late = next((v.value for v in status.values if v.key.startswith("tick late")), "")


def through_the_nodes(bundle: Path, seconds: float, pacing: dict[str, float]) -> None:
    """Measure the policy node and the arm bridge, each in its process, over DDS."""
    overrides = overrides_for(str(bundle), INSTRUCTION)
    overrides["policy_node"] |= pacing
    nodes = [node for node in processes("sim", overrides) if node.name in ("policy_node", "arm_bridge")]
    nodes[0] = replace(nodes[0], overrides={**nodes[0].overrides, "crop": json.dumps(CROP)})
    names = json.dumps([node.name for node in nodes])
    nodes.append(NodeProcess(SUPERVISOR, SUPERVISOR_MODULE, None, {"nodes": names}))
    with Graph(nodes), participating():
        robot = Robot()
        loop = ControlLoop(robot.feed, 1 / (JOINTS_A_PICTURE * RATE_HZ))
        loop.start()
        try:
            ends_s = time.monotonic() + START_S + seconds
            while time.monotonic() < ends_s:
                rclpy.spin_once(robot, timeout_sec=0.1)
        finally:
            loop.stop()
            robot.destroy_node()
    count = min(len(robot.inside_s), len(robot.age_s))
    before, out = [], []
    columns = (robot.age_s, robot.ready_s, robot.inside_s, robot.waited_s)
    for age_s, ready_s, inside_s, waited_s in zip(*(values[-count:] for values in columns), strict=True):
        before.append(ready_s - inside_s - waited_s)
        out.append(age_s - ready_s)
    say("nodes: inside the graph", robot.inside_s[WARM:])
    say("nodes: around the model", np.add(before, out)[WARM:].tolist())
    say("nodes: picture to graph, without waiting", before[WARM:])
    say("nodes: graph to controller", out[WARM:])
    say("nodes: waiting for joints", robot.waited_s[WARM:])
    print(f"{'nodes: tick late':42s} p99 {robot.late} ms, as the arm bridge's diagnostics say")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--run", type=Path, help="the run that made the bundle: compare with eager torch")
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    if options.run is not None:
        for threads in THREADS:
            against_torch(bundle, options.run, threads)
    in_process(OnnxPolicy(bundle), options.seconds)
    print("nodes, each picture answered")
    through_the_nodes(options.bundle, options.seconds, EVERY_PICTURE)
    print("nodes, answering as often as the profile says")
    through_the_nodes(options.bundle, PROFILES_SHARE * options.seconds, {})
    return 0


if __name__ == "__main__":
    run_main(main)
