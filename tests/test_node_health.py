"""How the nodes are, from what they say and for how long they have not."""

import pytest

pytest.importorskip("rclpy", reason="the ros extra is for Linux on x86-64")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from dygro_ros.nodes.node_health import SILENT_S, NodeHealth


def said(name: str, level: bytes, text: str) -> DiagnosticArray:
    return DiagnosticArray(status=[DiagnosticStatus(name=name, level=level, message=text)])


def test_silence_counts_more_than_what_was_said_last() -> None:
    now_s = 5.0
    health = NodeHealth(["policy_node", "arm_bridge"], lambda: now_s)
    never = "not heard yet; is it running?"
    assert health.states() == (("policy_node", "error", never), ("arm_bridge", "error", never))
    health.take(said("arm_bridge", DiagnosticStatus.WARN, "left 50 ms old"))
    health.take(said("somebody_else", DiagnosticStatus.ERROR, "on fire"))
    assert health.states()[1] == ("arm_bridge", "warn", "left 50 ms old") and len(health.states()) == 2
    now_s += SILENT_S
    assert health.silence("arm_bridge") == ""
    now_s += 1.5
    assert health.silence("arm_bridge") == "not heard for 3 s"
    assert health.states()[1][1] == "error"


def test_what_names_a_bundle_is_not_shown() -> None:
    health = NodeHealth(["policy_node"])
    health.take(said("policy_node", DiagnosticStatus.ERROR, "bundles/dygro: actor.onnx is damaged"))
    assert health.states() == (("policy_node", "error", "it cannot run its bundle: see its log"),)
    health.take(said("policy_node", DiagnosticStatus.STALE, "bundles/dygro"))
    assert "dygro" not in str(health.states())
