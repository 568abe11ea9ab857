"""Run a policy bundle in the simulated cell: `ros2 launch dygro_ros sim_robot.launch.py bundle:=...`."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration


def generate_launch_description() -> LaunchDescription:
    """Return the real robot's description with the simulated robot's profile."""
    description = "name of a robot profile, or path of its YAML file"
    real = Path(__file__).with_name("real_robot.launch.py")
    return LaunchDescription(
        [
            DeclareLaunchArgument("robot", default_value="sim", description=description),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(real)),
                launch_arguments={"robot": LaunchConfiguration("robot")}.items(),
            ),
        ]
    )
