"""What every node of ours does, whatever its work is."""

import time

import pytest

pytest.importorskip("rclpy", reason="the ros extra is for Linux on x86-64")

from diagnostic_msgs.msg import DiagnosticArray
from nodes_fixtures import Onlooker
from std_msgs.msg import String

from dygro_ros.nodes.managed import ALIVE_TOPICS, HEARTBEATS, ManagedNode
from dygro_ros.robot_profile import Section

pytestmark = pytest.mark.usefixtures("own_domain")


class Nothing(Section):
    """No parameters."""


class Slow(ManagedNode):
    """Takes its time to prepare."""

    def __init__(self) -> None:
        super().__init__("slow", Nothing)
        self.prepares_until = lambda: True

    def prepare(self, parameters: Nothing) -> None:
        ends_s = time.monotonic() + 20
        while not self.prepares_until():
            assert time.monotonic() < ends_s


def test_a_node_in_a_long_transition_shows_life_and_says_what_it_is_about(onlooker: Onlooker) -> None:
    node, lives, said = Slow(), [], []
    onlooker.create_subscription(String, ALIVE_TOPICS + "slow", lives.append, HEARTBEATS)

    def hear(message: DiagnosticArray) -> None:
        said.extend(status.message for status in message.status if status.name == "slow")

    onlooker.create_subscription(DiagnosticArray, "/diagnostics", hear, 10)

    def heard() -> bool:
        onlooker.listen(0.05)
        return len(lives) > 20 and "is about to configure" in said

    node.prepares_until = heard
    node.trigger_configure()
    assert heard()
    node.destroy_node()
