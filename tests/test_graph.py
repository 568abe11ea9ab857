"""The graph's processes, as read off a profile."""

import json
from pathlib import Path

import pytest

from dygro_ros.errors import UserError
from dygro_ros.graph import MODULES, on_this_machine, processes
from dygro_ros.start import overrides_of


def test_a_real_robot_runs_camera_policy_and_bridge_and_the_supervisor_last() -> None:
    found = processes("piper", {})
    assert [node.name for node in found] == ["camera_node", "policy_node", "arm_bridge", "supervisor"]
    assert json.loads(found[-1].overrides["nodes"]) == ["camera_node", "policy_node", "arm_bridge"]


def test_the_simulated_robot_brings_its_own_camera() -> None:
    assert [node.name for node in processes("sim", {})][:3] == ["sim_robot", "policy_node", "arm_bridge"]


def test_overrides_keep_their_type() -> None:
    overrides = overrides_of(
        ["policy_node.instruction=7: up", "sim_robot.seed=3", "sim_robot.wrist_cameras=true"]
    )
    assert overrides == {
        "policy_node": {"instruction": "7: up"},
        "sim_robot": {"seed": 3, "wrist_cameras": True},
    }
    policy = next(node for node in processes("sim", overrides) if node.name == "policy_node")
    assert policy.ros_arguments[-2:] == ["-p", 'instruction:="7: up"']


def test_what_cannot_be_set_is_refused() -> None:
    with pytest.raises(UserError, match="has no sim_robot, so its seed cannot be set"):
        processes("piper", {"sim_robot": {"seed": 1}})
    with pytest.raises(UserError, match=r"--set takes node\.parameter=value, got 'seed=3'"):
        overrides_of(["seed=3"])


def test_a_node_may_run_on_another_machine() -> None:
    nodes = processes("piper", {})
    here = on_this_machine(nodes, elsewhere=["policy_node"])
    assert [node.name for node in here] == ["camera_node", "arm_bridge", "supervisor"]
    assert "policy_node" in json.loads(here[-1].overrides["nodes"])
    assert [node.name for node in on_this_machine(nodes, only=["policy_node"])] == ["policy_node"]
    assert on_this_machine(nodes) == nodes
    with pytest.raises(UserError, match=r"unknown node 'policy' \(did you mean 'policy_node'\?\)"):
        on_this_machine(nodes, elsewhere=["policy"])
    with pytest.raises(UserError, match="not both"):
        on_this_machine(nodes, only=["policy_node"], elsewhere=["arm_bridge"])


def test_every_module_is_there() -> None:
    root = Path(__file__).resolve().parents[1]
    for module in MODULES.values():
        assert (root / (module.replace(".", "/") + ".py")).is_file(), module
