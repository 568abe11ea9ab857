"""Taking part in the nodes' middleware."""

import threading

import pytest

pytest.importorskip("rclpy", reason="the ros extra is for Linux on x86-64")

from rclpy.node import Node

from dygro_ros.nodes.participation import spinning

pytestmark = pytest.mark.usefixtures("own_domain")
# Timers that are always due: whoever leaves does so while a callback is taken or runs.
ALWAYS_DUE_S = 1e-6
TIMERS = 30


def test_a_busy_node_can_be_left_at_any_moment() -> None:
    before = threading.active_count()
    for _ in range(60):
        node = Node("busy")
        called = threading.Event()
        for _ in range(TIMERS):
            node.create_timer(ALWAYS_DUE_S, called.set)
        with spinning(node):
            assert called.wait(10)
    assert threading.active_count() == before
