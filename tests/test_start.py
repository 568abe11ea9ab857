"""The starter as a program: what it leaves running when it is told to end."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="the ros extra is for Linux on x86-64")

from nodes_fixtures import ROOT, WAIT_S, Onlooker, settings

from sim2real.sim_operator import START_S

pytestmark = pytest.mark.usefixtures("own_domain")


def running(pid: str) -> bool:
    """Whether a process runs; one that has ended may wait for whoever inherits it."""
    try:
        return "State:\tZ" not in Path("/proc", pid, "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_who_waits_for_nodes_is_told_when_one_has_ended(node_bundle: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sim2real.robot_demo", "--bundle", str(node_bundle)]
    command += ["--out", str(tmp_path), "--set", "sim_robot.task=juggling"]
    begun_s = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and time.monotonic() - begun_s < START_S
    assert "sim_robot cannot become active: unknown task 'juggling'" in done.stderr
    assert "supervisor has ended with code 2; what the nodes printed says why" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_ending_or_killing_the_starter_brings_the_arms_to_rest_and_leaves_no_node(
    node_bundle: Path, onlooker: Onlooker, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "dygro_ros.start", "--robot", "sim"]
    for node, values in settings(node_bundle).items():
        command += [f"--set={node}.{name}={value}" for name, value in values.items()]
    starter = subprocess.Popen([*command, "--bundle", str(node_bundle)], cwd=ROOT)
    onlooker.until(lambda: onlooker.mode == "holding")
    nodes = Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text().split()
    starter.send_signal(number)
    onlooker.until(lambda: onlooker.mode == "stopped: the arm bridge was deactivated")
    assert starter.wait(WAIT_S) == (-signal.SIGKILL if number is signal.SIGKILL else 0)
    assert len(nodes) == 4
    # A starter that was killed waits for none of them.
    onlooker.until(lambda: not [pid for pid in nodes if running(pid)], 10.0)
