"""Run a policy bundle in the simulated cell: `ros2 launch dygro_ros sim_robot.launch.py bundle:=...`."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node

from dygro_ros.graph import overrides_for, processes

RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"


def nodes(context: LaunchContext) -> list[Node]:
    """Return the processes of the robot's profile; when one of them ends, all end."""
    text = {name: LaunchConfiguration(name).perform(context) for name in ("robot", "bundle", "instruction")}
    overrides = overrides_for(text["bundle"], text["instruction"])
    return [
        Node(
            package="dygro_ros",
            executable=process.name,
            name=process.name,
            ros_arguments=process.ros_arguments[1:],
            output="screen",
            on_exit=Shutdown(reason=f"{process.name} has ended"),
        )
        for process in processes(text["robot"], overrides)
    ]


def generate_launch_description() -> LaunchDescription:
    """Return the description that `ros2 launch` runs."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "robot", default_value="sim", description="name of a robot profile, or path of its YAML file"
            ),
            DeclareLaunchArgument("bundle", description="folder of the policy bundle"),
            DeclareLaunchArgument("instruction", default_value="", description="what to do"),
            # Nobody outside this machine hears the nodes, or is heard, unless the environment says so.
            SetEnvironmentVariable(RANGE, EnvironmentVariable(RANGE, default_value="LOCALHOST")),
            OpaqueFunction(function=nodes),
        ]
    )
