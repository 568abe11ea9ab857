"""Run a policy bundle on a robot: `ros2 launch dygro_ros real_robot.launch.py bundle:=... robot:=piper`."""

import os

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from dygro_ros.graph import on_this_machine, overrides_for, processes
from dygro_ros.middleware import middleware_environment

ARGUMENTS = {
    "robot": {"description": "name of a robot profile, or path of its YAML file"},
    "bundle": {
        "default_value": "",
        "description": "folder of the policy bundle, where policy_node runs here",
    },
    "instruction": {"default_value": "", "description": "what to do"},
    "only": {"default_value": "", "description": "start these nodes alone, for another machine"},
    "elsewhere": {"default_value": "", "description": "another machine starts these nodes"},
}


def nodes(context: LaunchContext) -> list[Node]:
    """Return the processes of the robot's profile; when one of them ends, all end."""
    text = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    overrides = overrides_for(text["bundle"], text["instruction"])
    only, elsewhere = text["only"].split(), text["elsewhere"].split()
    return [
        Node(
            package="dygro_ros",
            executable=process.name,
            name=process.name,
            ros_arguments=process.ros_arguments[1:],
            output="screen",
            on_exit=Shutdown(reason=f"{process.name} has ended"),
        )
        for process in on_this_machine(processes(text["robot"], overrides), only, elsewhere)
    ]


def generate_launch_description() -> LaunchDescription:
    """Return the description that `ros2 launch` runs."""
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, **arguments) for name, arguments in ARGUMENTS.items()),
            *(SetEnvironmentVariable(*item) for item in middleware_environment(os.environ).items()),
            OpaqueFunction(function=nodes),
        ]
    )
