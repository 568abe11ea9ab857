"""The supervisor as a program, with a node that behaves as told."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="the ros extra is for Linux on x86-64")

from nodes_fixtures import ROOT, WAIT_S
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import String

from dygro_ros.nodes.managed import ALIVE_PERIOD_S, ALIVE_TOPICS, HEARTBEATS
from dygro_ros.nodes.supervisor import ALIVE

pytestmark = pytest.mark.usefixtures("own_domain")


class Patient(LifecycleNode):
    """Obeys, and shows life when told to."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.lives = self.active = False
        self.obeyed_s = 0.0
        self._alive = self.create_publisher(String, ALIVE_TOPICS + name, HEARTBEATS)
        self.create_timer(ALIVE_PERIOD_S, self._show)
        self.executor_ = SingleThreadedExecutor()
        self.executor_.add_node(self)

    def on_configure(self, state: object) -> object:
        self.obeyed_s = time.monotonic()
        return super().on_configure(state)

    def on_activate(self, state: object) -> object:
        self.active = True
        return super().on_activate(state)

    def spin(self, until_s: float) -> None:
        while time.monotonic() < until_s:
            self.executor_.spin_once(timeout_sec=0.02)

    def close(self) -> None:
        self.executor_.shutdown()
        self.destroy_node()

    def _show(self) -> None:
        if self.lives:
            self._alive.publish(String(data=self.get_name()))


@pytest.fixture
def patient(own_domain: None) -> Iterator[Patient]:
    node = Patient("patient")
    yield node
    node.close()


def started(*names: str) -> subprocess.Popen[str]:
    nodes = f"nodes:=[{', '.join(names)}]"
    command = [sys.executable, "-m", "dygro_ros.nodes.supervisor", "--ros-args", "-p", nodes]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_silence_counts_from_the_first_sign_of_life_on(patient: Patient) -> None:
    supervisor = started("patient")
    try:
        met_s = time.monotonic()
        while not patient.count_subscribers(ALIVE_TOPICS + "patient"):
            assert time.monotonic() < met_s + WAIT_S
            patient.spin(time.monotonic() + 0.05)
        shows_s = time.monotonic() + 4 * ALIVE.fault_s
        patient.spin(shows_s)
        assert patient.obeyed_s == 0.0
        patient.lives = True
        patient.spin(shows_s + 4 * ALIVE.fault_s)
        assert patient.obeyed_s > shows_s and supervisor.poll() is None
        patient.lives = False
        silent_s = time.monotonic()
        while supervisor.poll() is None:
            assert time.monotonic() < silent_s + WAIT_S
            patient.spin(time.monotonic() + 0.05)
        assert supervisor.returncode == 1
    finally:
        supervisor.send_signal(signal.SIGKILL)
        said = supervisor.communicate()[1]
    assert "patient is active" in said and "patient has died: no sign of life for 0.5 s" in said


def test_nobody_is_waited_for_who_has_died_besides(patient: Patient) -> None:
    other = Patient("other")
    supervisor = started("patient", "other")
    try:
        patient.lives = other.lives = True
        met_s = time.monotonic()
        while not (patient.active and other.active):
            assert time.monotonic() < met_s + WAIT_S
            patient.spin(time.monotonic() + 0.02)
            other.spin(time.monotonic() + 0.02)
        other.spin(time.monotonic() + 0.2)  # its answer is sent; from now on both are silent
        assert supervisor.wait(WAIT_S) == 1
    finally:
        supervisor.send_signal(signal.SIGKILL)
        said = supervisor.communicate()[1]
        other.close()
    assert "has died: no sign of life for 0.5 s" in said
    assert "has died, too: no sign of life for 5 s" in said
    assert said.count("patient has died") == said.count("other has died") == 1
