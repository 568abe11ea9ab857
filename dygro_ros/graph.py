"""Which processes make up the running system: read off a robot profile, for `ros2 launch` and our starter.

A node runs if the profile has a section for it. The order is that of coming up: what is depended on first,
the arm bridge, which commands the arms, last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dygro_ros.errors import UserError
from dygro_ros.robot_profile import profile_path, read_profile

MODULES = {
    "sim_robot": "sim2real.sim_robot_node",
    "camera_node": "dygro_ros.nodes.camera_node",
    "policy_node": "dygro_ros.nodes.policy_node",
    "arm_bridge": "dygro_ros.nodes.arm_bridge",
}
SUPERVISOR = "supervisor"
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


def overrides_for(bundle: str, instruction: str) -> dict[str, dict[str, str | int | float | bool]]:
    """Return the parameters that every start gives: the bundle's folder and what to do."""
    return {"policy_node": {"bundle": str(Path(bundle).resolve()), "instruction": instruction}}


def processes(robot: str | Path, overrides: Overrides) -> list[NodeProcess]:
    """Return the processes of a robot, the supervisor last.

    Args:
        robot: Name of a profile, or path of its file.
        overrides: Parameters that differ from the profile's, by node.

    Raises:
        UserError: No such profile, a field of it is wrong, or an override is for a node it does not have.
    """
    path = profile_path(robot)
    profile = read_profile(path)
    names = [name for name in MODULES if getattr(profile, name) is not None]
    for name, values in overrides.items():
        if name not in names:
            raise UserError(f"{path} has no {name}, so its {', '.join(values)} cannot be set")
    found = [
        NodeProcess(
            name,
            MODULES[name],
            path,
            # JSON is YAML: texts keep their type whatever they contain.
            {key: json.dumps(value) for key, value in overrides.get(name, {}).items()},
        )
        for name in names
    ]
    return [*found, NodeProcess(SUPERVISOR, SUPERVISOR_MODULE, None, {"nodes": json.dumps(names)})]
