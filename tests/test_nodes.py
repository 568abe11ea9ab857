"""The real nodes, as processes over real DDS, driving the simulated cell in real time."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from policy_fixtures import SIZE_PX, make_bundle

rclpy = pytest.importorskip("rclpy", reason="the ros extra is for Linux on x86-64")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import Float32MultiArray, String  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from dygro_ros.graph import processes  # noqa: E402
from dygro_ros.nodes.arm_bridge import ArmBridge  # noqa: E402
from dygro_ros.nodes.camera_node import CameraNode  # noqa: E402
from dygro_ros.nodes.managed import LATCHED, NEWEST, RELIABLE  # noqa: E402
from dygro_ros.nodes.policy_node import PolicyNode  # noqa: E402
from dygro_ros.robot_profile import HOLD_WITHIN_S, read_profile  # noqa: E402
from dygro_ros.start import Graph  # noqa: E402
from sim2real.sim_robot_node import SimRobotNode  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
WAIT_S = 60.0
# Test runs beside each other must not hear one another.
DOMAIN = str(20 + os.getpid() % 70)


@pytest.fixture(scope="module", autouse=True)
def own_domain() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", DOMAIN)
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        rclpy.init()
        yield
        rclpy.try_shutdown()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("nodes") / "bundle").path


class Onlooker(Node):
    """Hears what an operator's tools would."""

    def __init__(self) -> None:
        super().__init__("onlooker")
        self.mode = ""
        self.sent: list[tuple[float, np.ndarray]] = []
        self.gates: list[float] = []
        self.create_subscription(String, "dygro/mode", self._on_mode, LATCHED)
        self.create_subscription(JointState, "dygro/joint_commands", self._on_sent, NEWEST)
        self.create_subscription(Float32MultiArray, "dygro/gates", self._on_gates, RELIABLE)
        self.said: dict[str, str] = {}
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.said |= {status.name: status.message for status in message.status}

    def _on_mode(self, message: String) -> None:
        self.mode = message.data

    def _on_sent(self, message: JointState) -> None:
        self.sent.append((time.monotonic(), np.array(message.position)))

    def _on_gates(self, message: Float32MultiArray) -> None:
        self.gates = list(message.data)

    def until(self, true: Callable[[], Any], timeout_s: float = WAIT_S) -> None:
        ends_s = time.monotonic() + timeout_s
        while not true():
            assert time.monotonic() < ends_s, f"waited {timeout_s} s, mode {self.mode!r}"
            rclpy.spin_once(self, timeout_sec=0.02)

    def listen(self, seconds: float) -> None:
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s:
            rclpy.spin_once(self, timeout_sec=0.02)

    def ask(self, name: str, request: Any = None) -> tuple[bool, str]:
        kind = Trigger if request is None else SetBool
        client = self.create_client(kind, f"arm_bridge/{name}")
        assert client.wait_for_service(timeout_sec=WAIT_S)
        future = client.call_async(Trigger.Request() if request is None else SetBool.Request(data=request))
        rclpy.spin_until_future_complete(self, future, timeout_sec=WAIT_S)
        answer = future.result()
        self.destroy_client(client)
        return answer.success, answer.message


NODES: dict[str, Callable[[], Node]] = {
    "camera_node": CameraNode,
    "policy_node": PolicyNode,
    "arm_bridge": ArmBridge,
    "sim_robot": SimRobotNode,
}
RCLPYS_OWN = {"use_sim_time", "start_type_description_service"}


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_profile_holds_what_its_nodes_declare(path: Path) -> None:
    for name, section in yaml.safe_load(path.read_text()).items():
        node = NODES[name]()
        declared = set(node.list_parameters([], 0).names) - RCLPYS_OWN
        node.destroy_node()
        assert declared == set(leaves(section["ros__parameters"])), name


@pytest.fixture
def onlooker() -> Iterator[Onlooker]:
    node = Onlooker()
    yield node
    node.destroy_node()


def settings(bundle: Path) -> dict[str, dict[str, Any]]:
    return {
        "policy_node": {
            "bundle": str(bundle),
            "instruction": "move",
            "interval_s": 0.05,
            "whole_within_s": 0.0,
        },
        "sim_robot": {"image_size": SIZE_PX},
    }


@pytest.fixture
def graph(bundle: Path) -> Iterator[Graph]:
    running = Graph(processes("sim", settings(bundle)))
    yield running
    running.end()


def test_the_operators_console_is_obeyed(graph: Graph, onlooker: Onlooker) -> None:
    onlooker.until(lambda: onlooker.mode == "holding")
    # On a busy machine a picture may be late just when it is asked.
    onlooker.until(lambda: onlooker.ask("run")[0])
    console = subprocess.Popen(
        [sys.executable, "-m", "dygro_ros.nodes.operator_console"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = "residual off\ndo put the cup down\njump\nreset\nstop\nquit\n"
    said = console.communicate(lines, timeout=WAIT_S)[0]
    assert console.returncode == 0
    for line in (
        "base policy only",
        "told: put the cup down",
        "error: unknown order 'jump'",
        "refused: reset needs mode stopped, the arms are running",
        "stopping",
    ):
        assert line in said, said
    onlooker.until(lambda: onlooker.mode == "stopped: asked to stop")


def test_the_nodes_run_the_policy_and_obey(graph: Graph, onlooker: Onlooker) -> None:
    onlooker.until(lambda: onlooker.mode == "holding")
    assert onlooker.ask("reset") == (False, "reset needs mode stopped, the arms are holding")
    onlooker.until(lambda: onlooker.ask("run") == (True, "running"))
    onlooker.until(lambda: onlooker.mode == "running")
    onlooker.until(lambda: len(onlooker.gates) == 3)
    start = onlooker.sent[0][1]
    onlooker.until(lambda: np.abs(onlooker.sent[-1][1] - start).max() > 0.02)
    assert onlooker.ask("use_residual", False) == (True, "base policy only")
    assert onlooker.ask("stop")[0]
    onlooker.until(lambda: onlooker.mode == "stopped: asked to stop")
    assert onlooker.ask("run") == (False, "run needs mode holding, the arms are stopped")
    onlooker.until(lambda: onlooker.ask("reset")[0])
    onlooker.until(lambda: onlooker.mode == "holding")
    assert onlooker.ask("home") == (True, "homing")
    config = read_profile("sim").arm_bridge.controller()
    onlooker.until(
        lambda: onlooker.mode == "holding" and np.abs(onlooker.sent[-1][1] - config.home).max() < 2e-3
    )
    limits = config.limits
    positions = np.array([position for _, position in onlooker.sent])
    assert (positions >= limits.lower).all() and (positions <= limits.upper).all()


@pytest.mark.parametrize("victim", ["policy_node", "sim_robot"])
def test_a_node_that_is_killed_makes_the_arms_hold_and_is_named(
    bundle: Path, onlooker: Onlooker, victim: str, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = Graph(processes("sim", settings(bundle)))
    try:
        onlooker.until(lambda: onlooker.mode == "holding")
        onlooker.until(lambda: onlooker.ask("run")[0])
        onlooker.until(lambda: onlooker.mode == "running")
        graph.running[victim].send_signal(signal.SIGKILL)
        killed_s = time.monotonic()
        onlooker.until(lambda: onlooker.mode.startswith("stopped"))
        # What was sent later than promised is what was sent last: the arms held. Hearing it takes time, too.
        late = [p for at_s, p in onlooker.sent if at_s > killed_s + HOLD_WITHIN_S + 0.1]
        assert late and np.ptp(np.array(late), axis=0).max() == 0.0
        name, _ = graph.wait()
        assert graph.running["supervisor"].wait(WAIT_S) == 1 or name == "supervisor"
    finally:
        graph.end()
    assert f"{victim} has died" in capfd.readouterr().err


def test_the_loops_delay_is_measured_and_noted(tmp_path: Path) -> None:
    profile = tmp_path / "mine.yaml"
    text = (ROOT / "config" / "sim.yaml").read_text()
    profile.write_text(text.replace("command_delay_s: 0.0", "command_delay_s: 0.15"))
    done = subprocess.run(
        [sys.executable, "-m", "dygro_ros.nodes.calibrate_delay", "--robot", str(profile), "--periods", "5"],
        cwd=ROOT,
        input="\n",
        capture_output=True,
        text=True,
        timeout=3 * WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Keep the arms' own stop within reach" in done.stdout
    # On a busy machine the way to the arms takes its time, too.
    assert 0.14 < read_profile(profile).arm_bridge.loop_delay_s < 0.2, done.stdout


OTHER_NAMES = [f"joint{number}" for number in range(1, 7)] + ["gripper"]


@pytest.mark.parametrize(
    ("node", "changes", "words"),
    [
        ("arm_bridge", {"arms.left.joint_names": OTHER_NAMES}, "expected joints joint1, joint2"),
        ("policy_node", {"crop": [0.0, 0.0, 1.0, 0.5]}, "choose a crop of that aspect ratio"),
        ("arm_bridge", {"action_rate_hz": 50.0}, "a chunk's actions must be 0.02 s apart"),
    ],
)
def test_what_does_not_fit_is_said_and_moves_nothing(
    bundle: Path, onlooker: Onlooker, tmp_path: Path, node: str, changes: dict[str, Any], words: str
) -> None:
    profile = yaml.safe_load((ROOT / "config" / "sim.yaml").read_text())
    for field, value in changes.items():
        *sections, last = field.split(".")
        place = profile[node]["ros__parameters"]
        for section in sections:
            place = place[section]
        place[last] = value
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(profile))
    graph = Graph(processes(path, settings(bundle)))
    try:
        if "joint_names" not in str(changes):
            onlooker.until(lambda: onlooker.mode == "holding")
            onlooker.until(lambda: onlooker.ask("run")[0])
        onlooker.until(lambda: words in onlooker.said.get(node, ""))
        onlooker.listen(0.5)
        # Whatever was sent, if anything was, held the arms where they are.
        assert not onlooker.sent or np.ptp(np.array([p for _, p in onlooker.sent]), axis=0).max() == 0.0
        assert (onlooker.sent == []) is ("joint_names" in str(changes))
    finally:
        graph.end()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--robot", "sim", "--bundle", "/nowhere"],
            "expected a policy bundle, but /nowhere is not a folder",
        ),
        (
            ["--robot", "sim"],
            "--bundle must name the folder of a policy bundle: policy_node runs on this machine",
        ),
        (["--robot", "piper", "--bundle", "/nowhere"], "serial_no must name the RealSense"),
        (
            ["--robot", "simm", "--bundle", "/nowhere"],
            "unknown robot profile 'simm' in robot (did you mean 'sim'?)",
        ),
        (["--robot", "sim", "--bundle", "/x", "--set", "arm_bridge.blend_s=7"], "blend_s"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_with_exit_code_2(arguments: list[str], words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dygro_ros.start", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * WAIT_S,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
