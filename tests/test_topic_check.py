import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="the ros extra is for Linux on x86-64")

import rclpy
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from dygro_ros.nodes.managed import LATCHED, NEWEST, RELIABLE
from dygro_ros.nodes.topic_check import TopicCheck

pytestmark = pytest.mark.usefixtures("own_domain")


Nodes = tuple[Node, Node, Node]


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    # One participant cannot have two types on a topic: the driver's is another.
    drivers = Context()
    rclpy.init(context=drivers)
    made = Node("driver", context=drivers), Node("arms"), Node("supervisor")
    yield made
    for node in made:
        node.destroy_node()
    rclpy.shutdown(context=drivers)


def sentences(check: TopicCheck) -> list[str]:
    found: list[str] = []
    ends_s = time.monotonic() + 5.0
    while time.monotonic() < ends_s and not found:
        found += check.look()
        time.sleep(0.01)  # the middleware's own threads find who is there
    return found


@pytest.mark.parametrize(
    ("sent", "heard", "why"),
    [
        ((JointState, NEWEST), (JointState, RELIABLE), "expected reliable messages, got best-effort ones"),
        (
            (Image, NEWEST),
            (JointState, NEWEST),
            "expected sensor_msgs/msg/JointState, got sensor_msgs/msg/Image",
        ),
        ((String, RELIABLE), (String, LATCHED), "got volatile ones"),
    ],
)
def test_who_hears_nothing_is_named_once(
    nodes: Nodes, sent: tuple[Any, Any], heard: tuple[Any, Any], why: str
) -> None:
    driver, arms, supervisor = nodes
    driver.create_publisher(sent[0], "state", sent[1])
    arms.create_subscription(heard[0], "state", lambda message: None, heard[1])
    check = TopicCheck(supervisor, ["arms"])
    (sentence,) = sentences(check)
    assert sentence.startswith("/state: arms hears nothing of driver: ") and why in sentence
    for _ in range(10):
        assert check.look() == []


def test_what_fits_and_what_is_others_is_passed_over(nodes: Nodes) -> None:
    driver, arms, supervisor = nodes
    driver.create_publisher(JointState, "state", RELIABLE)
    arms.create_subscription(JointState, "state", lambda message: None, NEWEST)
    driver.create_publisher(String, "other", NEWEST)
    supervisor.create_subscription(String, "other", lambda message: None, RELIABLE)
    check = TopicCheck(supervisor, ["arms"])
    while not any(info for info in supervisor.get_publishers_info_by_topic("other")):
        time.sleep(0.01)
    assert [check.look() for _ in range(20)] == [[]] * 20
