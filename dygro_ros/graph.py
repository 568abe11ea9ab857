"""Which processes make up the running system: read off a robot profile, for `ros2 launch` and our starter.

A node runs if the profile has a section for it. The order is that of coming up: what is depended on first,
the arm bridge, which commands the arms, last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dygro_ros.errors import UserError, unknown_name
from dygro_ros.robot_profile import RobotProfile, profile_path, read_profile

MODULES = {
    "sim_robot": "sim2real.sim_robot_node",
    "camera_node": "dygro_ros.nodes.camera_node",
    "policy_node": "dygro_ros.nodes.policy_node",
    "arm_bridge": "dygro_ros.nodes.arm_bridge",
}
POLICY, BRIDGE, SIM_ROBOT, SUPERVISOR = "policy_node", "arm_bridge", "sim_robot", "supervisor"
SUPERVISOR_MODULE = "dygro_ros.nodes.supervisor"


Overrides = Mapping[str, Mapping[str, str | int | float | bool]]


@dataclass(frozen=True)
class NodeProcess:
    """One node, in a process of its own."""

    name: str
    module: str
    """Python module that runs it; its executable has the node's name."""
    parameters_file: Path | None
    overrides: Mapping[str, str]
    """Parameters that differ from the file, as YAML."""

    @property
    def ros_arguments(self) -> list[str]:
        """Arguments after the program's name."""
        arguments = ["--ros-args"]
        if self.parameters_file is not None:
            arguments += ["--params-file", str(self.parameters_file)]
        for name, value in self.overrides.items():
            arguments += ["-p", f"{name}:={value}"]
        return arguments


def node_names(profile: RobotProfile) -> list[str]:
    """Return the nodes that a profile has a section for, in the order of their coming up."""
    return [name for name in MODULES if getattr(profile, name) is not None]


def overrides_for(bundle: str, instruction: str) -> dict[str, dict[str, str | int | float | bool]]:
    """Return the parameters that every start gives: the bundle's folder and what to do."""
    folder = str(Path(bundle).resolve()) if bundle else ""
    return {POLICY: {"bundle": folder, "instruction": instruction}}


def processes(
    robot: str | Path, overrides: Overrides, stand_ins: Mapping[str, str] | None = None
) -> list[NodeProcess]:
    """Return the processes of a robot, the supervisor last.

    Args:
        robot: Name of a profile, or path of its file.
        overrides: Parameters that differ from the profile's, by node.
        stand_ins: Modules that run in a node's place.

    Raises:
        UserError: No such profile, a field of it is wrong, or an override is for a node it does not have.
    """
    path = profile_path(robot)
    profile = read_profile(path)
    names = node_names(profile)
    for name, values in overrides.items():
        if name not in names:
            raise UserError(f"{path} has no {name}, so its {', '.join(values)} cannot be set")
    modules = MODULES | dict(stand_ins or {})
    found = [
        NodeProcess(
            name,
            modules[name],
            path,
            # JSON is YAML: texts keep their type whatever they contain.
            {key: json.dumps(value) for key, value in overrides.get(name, {}).items()},
        )
        for name in names
    ]
    return [*found, NodeProcess(SUPERVISOR, SUPERVISOR_MODULE, None, {"nodes": json.dumps(names)})]


def on_this_machine(
    nodes: Sequence[NodeProcess], only: Sequence[str] = (), elsewhere: Sequence[str] = ()
) -> list[NodeProcess]:
    """Return those of a robot's processes that run here.

    The supervisor brings up all of them, wherever they run, so it belongs to the machine that names others as
    being elsewhere; on those, each node is started alone.

    Args:
        nodes: All processes of the robot.
        only: Names of the nodes to start here, without a supervisor; all of them if empty.
        elsewhere: Names of the nodes that another machine starts.

    Raises:
        UserError: The robot has no node of that name, or both were given.
    """
    if only and elsewhere:
        raise UserError("give only what runs here, or what runs elsewhere, not both")
    names = [node.name for node in nodes if node.name != SUPERVISOR]
    for name in (*only, *elsewhere):
        if name not in names:
            raise unknown_name("node", name, names)
    return [node for node in nodes if (node.name in only if only else node.name not in elsewhere)]
