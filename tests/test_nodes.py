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

pytest.importorskip("rclpy", reason="the ros extra is for Linux on x86-64")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nodes_fixtures import ROOT, WAIT_S, Onlooker, settings
from rclpy.node import Node
from sensor_msgs.msg import JointState

from dygro_ros.graph import processes
from dygro_ros.nodes.arm_bridge import ArmBridge
from dygro_ros.nodes.camera_node import CameraNode
from dygro_ros.nodes.managed import NEWEST
from dygro_ros.nodes.policy_node import PolicyNode
from dygro_ros.robot_profile import HOLD_WITHIN_S, read_profile
from dygro_ros.start import Graph
from sim2real.sim_robot_node import SimRobotNode

pytestmark = pytest.mark.usefixtures("own_domain")


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
def graph(node_bundle: Path) -> Iterator[Graph]:
    with Graph(processes("sim", settings(node_bundle))) as running:
        yield running


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
    for figure in ("gates", "saturation", "provider", "inference p99 [ms]"):
        onlooker.until(lambda figure=figure: f"policy_node {figure}" in onlooker.told)  # type: ignore[misc]
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
    node_bundle: Path, onlooker: Onlooker, victim: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with Graph(processes("sim", settings(node_bundle))) as graph:
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
    assert f"{victim} has died" in capfd.readouterr().err


@pytest.mark.parametrize("victim", ["arm_bridge", "supervisor"])
def test_the_arms_rest_when_the_bridge_or_the_supervisor_is_killed(
    node_bundle: Path, onlooker: Onlooker, victim: str, capfd: pytest.CaptureFixture[str]
) -> None:
    measured: list[tuple[float, np.ndarray]] = []
    onlooker.create_subscription(
        JointState,
        "/left_arm/joint_states",
        lambda message: measured.append((time.monotonic(), np.array(message.position))),
        NEWEST,
    )
    with Graph(processes("sim", settings(node_bundle))) as graph:
        onlooker.until(lambda: onlooker.mode == "holding")
        onlooker.until(lambda: onlooker.ask("run")[0])
        onlooker.until(lambda: onlooker.mode == "running" and measured)
        graph.running[victim].send_signal(signal.SIGKILL)
        if victim == "arm_bridge":
            # Nobody commands any more: the arms' own drivers hold what was commanded last.
            killed_s = time.monotonic()
            onlooker.until(lambda: graph.running["supervisor"].poll() is not None)
            assert graph.running["supervisor"].returncode == 1
            # The simulated arms, too, stand still with the rest half a second later. Hearing it takes time.
            rest = np.array(
                [position for at_s, position in measured if at_s > killed_s + HOLD_WITHIN_S + 0.1]
            )
            assert len(rest) > 5 and np.ptp(rest, axis=0).max() < 0.02
        else:
            # What started the nodes ends them, and the bridge brings the arms to rest before it goes.
            assert graph.wait()[0] == "supervisor"
            graph.end()
            onlooker.until(lambda: onlooker.mode.startswith("stopped: "))
            # On a machine that stood still the arms may have stopped before they were asked to.
            assert onlooker.mode == "stopped: the arm bridge was deactivated" or "ms old" in onlooker.mode
            assert graph.running["arm_bridge"].returncode == 0
    if victim == "arm_bridge":
        assert "arm_bridge has died" in capfd.readouterr().err


def test_a_transition_asked_for_out_of_turn_ends_nobody(
    node_bundle: Path, onlooker: Onlooker, capfd: pytest.CaptureFixture[str]
) -> None:
    change = onlooker.create_client(ChangeState, "arm_bridge/change_state")
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    with Graph(processes("sim", settings(node_bundle))) as graph:
        onlooker.until(lambda: onlooker.mode == "holding")
        assert change.wait_for_service(timeout_sec=WAIT_S)
        for _ in range(3):
            change.call_async(request)
            onlooker.listen(0.5)
        assert onlooker.ask("home") == (True, "homing")
        onlooker.until(lambda: onlooker.mode == "holding")
        graph.check()
    assert "a transition was asked for that does not fit" in capfd.readouterr().err


def test_a_robot_that_is_started_twice_runs_once(graph: Graph, onlooker: Onlooker, node_bundle: Path) -> None:
    onlooker.until(lambda: onlooker.mode == "holding")
    command = [sys.executable, "-m", "dygro_ros.start", "--robot", "sim", "--bundle", str(node_bundle)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as second:
        onlooker.until(lambda: second.poll() is not None)
        assert second.returncode == 2 and second.stderr is not None
        said = second.stderr.read()
    bridge = graph.running["arm_bridge"].pid
    assert f"arm_bridge already runs on this machine in ROS domain {os.environ['ROS_DOMAIN_ID']}" in said
    assert f"(process {bridge}): end what started it first" in said
    # The first one has noticed nothing.
    graph.check()
    assert onlooker.mode == "holding" and onlooker.ask("home") == (True, "homing")


def test_a_supervisor_that_stood_still_blames_nobody(graph: Graph, onlooker: Onlooker) -> None:
    onlooker.until(lambda: onlooker.mode == "holding")
    supervisor = graph.running["supervisor"]
    supervisor.send_signal(signal.SIGSTOP)
    onlooker.listen(1.0)
    supervisor.send_signal(signal.SIGCONT)
    onlooker.listen(1.0)
    assert supervisor.poll() is None and onlooker.mode == "holding"


def test_the_loops_delay_is_measured_and_noted(tmp_path: Path) -> None:
    profile = tmp_path / "mine.yaml"
    text = (ROOT / "config" / "sim.yaml").read_text()
    profile.write_text(text.replace("command_delay_s: 0.0", "command_delay_s: 0.15"))
    # Where pictures are late because the machine is busy, it rightly refuses, and is asked again.
    for _ in range(3):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "dygro_ros.nodes.calibrate_delay",
                "--robot",
                str(profile),
                "--periods",
                "5",
            ],
            cwd=ROOT,
            input="\n",
            capture_output=True,
            text=True,
            timeout=3 * WAIT_S,
            check=False,
        )
        if "expected to know it to" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr
    assert "Keep the arms' own stop within reach" in done.stdout
    # On a busy machine the way to the arms takes its time, too.
    assert 0.14 < read_profile(profile).arm_bridge.loop_delay_s < 0.2, done.stdout
