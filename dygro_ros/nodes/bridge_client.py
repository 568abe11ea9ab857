"""Who asks the arm bridge and hears what the arms do: for commands that go through a plan by themselves."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import rclpy
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from dygro_ros.errors import UserError
from dygro_ros.nodes.managed import LATCHED, NEWEST

ANSWER_S = 20.0
HEARTBEAT_S = 0.05


def answer_from(client: Any, request: Any, name: str, timeout_s: float) -> Any:
    """Return the answer to a request, where another thread spins the client's node.

    Args:
        client: Of the service.
        request: What to ask.
        name: Who answers, for the message.
        timeout_s: The service may take this long to appear, and to answer [s].

    Raises:
        UserError: It does not.
    """
    if not client.wait_for_service(timeout_sec=min(timeout_s, ANSWER_S)):
        raise UserError(f"{name} has not appeared within {min(timeout_s, ANSWER_S):g} s")
    answered = threading.Event()
    future = client.call_async(request)
    future.add_done_callback(lambda _: answered.set())
    if not answered.wait(timeout_s):
        client.remove_pending_request(future)
        raise UserError(f"{name} has not answered within {timeout_s:g} s")
    return future.result()


def send_operators_heartbeat(node: Node, who: str) -> None:
    """Say on `dygro/operator` that somebody is there, for as long as the node spins."""
    heartbeat = node.create_publisher(String, "dygro/operator", NEWEST)
    node.create_timer(HEARTBEAT_S, lambda: heartbeat.publish(String(data=who)))


class BridgeClient(Node):
    """A node that asks services of type Trigger, one at a time, and knows the arms' mode."""

    def __init__(self, name: str, asks: Sequence[str]) -> None:
        """Listen.

        Args:
            name: The node's name.
            asks: Services that will be asked, such as `arm_bridge/run`.
        """
        super().__init__(name)
        self.mode = ""
        """What `dygro/mode` said last."""
        self._asks = {service: self.create_client(Trigger, service) for service in asks}
        self.create_subscription(String, "dygro/mode", self._on_mode, LATCHED)

    def ask(self, service: str) -> tuple[bool, str]:
        """Ask; return whether it will be done, and what was said.

        Raises:
            UserError: Nobody answers.
        """
        answer = self.answer(service, self._asks[service], Trigger.Request())
        return bool(answer.success), str(answer.message)

    def answer(self, service: str, client: Any, request: Any) -> Any:
        """Return the answer to a request.

        Raises:
            UserError: The service does not appear, or does not answer.
        """
        if not client.wait_for_service(timeout_sec=ANSWER_S):
            raise UserError(f"{service} has not appeared within {ANSWER_S:g} s")
        future = client.call_async(request)
        rclpy.spin_until_future_complete(self, future, timeout_sec=ANSWER_S)
        answer = future.result()
        if answer is None:
            raise UserError(f"{service} has not answered within {ANSWER_S:g} s")
        return answer

    def _on_mode(self, message: String) -> None:
        self.mode = message.data
