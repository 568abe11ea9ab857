"""What the tests of the running nodes share: who looks on, and settings for a small bundle."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from policy_fixtures import SIZE_PX
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float32MultiArray, String
from std_srvs.srv import SetBool, Trigger

from dygro_ros.nodes.managed import LATCHED, NEWEST, RELIABLE

ROOT = Path(__file__).resolve().parents[1]
WAIT_S = 60.0


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
        self.told: dict[str, str] = {}
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.said |= {status.name: status.message for status in message.status}
        for status in message.status:
            self.told |= {f"{status.name} {value.key}": value.value for value in status.values}

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
