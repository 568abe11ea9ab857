"""Package metadata, for pip and for colcon; pyproject.toml holds only build system and tool settings."""

import re
from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

NAME = "dygro_ros"
HERE = Path(__file__).resolve().parent

VERSION = re.search(r'^__version__ = "([^"]+)"$', (HERE / NAME / "__init__.py").read_text("utf-8"), re.M)
if VERSION is None:
    raise RuntimeError(f'{NAME}/__init__.py holds no line __version__ = "..."')

# The robot side alone. Whoever runs onnxruntime-gpu installs with --no-deps.
ROBOT = [
    "numpy>=1.26",
    "pydantic>=2.7",
    "onnxruntime>=1.18",
    "opencv-python-headless>=4.8",
    "pyyaml>=6",
]

# ROS 2 Jazzy's own packages as wheels, for machines without a ROS installation; there are none for others.
WHEELS = "; sys_platform == 'linux' and platform_machine == 'x86_64'"
MESSAGES = {
    **dict.fromkeys(("sensor", "std", "geometry", "trajectory", "diagnostic"), "5.3.6"),
    "lifecycle": "2.0.3",
}
ROS = [
    f"ros-rclpy[fastrtps]==7.1.6{WHEELS}",
    f"ros-std-srvs==5.3.6{WHEELS}",
    *(f"ros-{name}-msgs=={version}{WHEELS}" for name, version in MESSAGES.items()),
]

REALSENSE = [f"pyrealsense2>=2.56{WHEELS}", f"libusb-package>=1.0.26{WHEELS}"]

MCAP = ["mcap-ros2-support>=0.5"]

EVAL = ["scipy>=1.11", "matplotlib>=3.8", "av>=12", "fastapi>=0.115", "uvicorn>=0.30", *MCAP]

# torch and mujoco are pinned: bit-exact resume and grasping contacts were measured on these versions.
TRAIN = [
    *EVAL,
    "torch==2.13.0",
    "mujoco==3.17.0",
    "gymnasium>=1.0,<2",
    "h5py>=3.10",
    "onnx>=1.19",
    "onnxscript>=0.7,<0.8",
    "pillow>=10.1",
    "pyarrow>=15",
    "rich>=13.7",
    "safetensors>=0.4.3",
    "tensorboard>=2.16",
    "tyro>=1.0,<2",
]

# The websocket server for RoboTwin 2.0's evaluation.
ROBOTWIN = ["msgpack>=1.0.8", "scipy>=1.11", "tyro>=1.0,<2", "websockets>=13"]

# The pretrained backbone of the preset `base`; the robot side needs tokenizers alone. The networks' layers
# are called one by one, so transformers is held to the major version that this was tried with.
BASE = ["transformers>=5.20,<6", "peft>=0.19", "tokenizers>=0.22"]

# One minor version: how a local Ray is kept on the loopback address is none of Ray's documented options.
RAY = ["ray>=2.60,<2.61; sys_platform == 'linux'"]

# What formats and type-checks is held to one minor version: another one judges the same code differently.
TEST = [
    *ROS,
    *REALSENSE,
    *MCAP,
    *ROBOTWIN,
    "msgpack-numpy>=0.4.8",
    *BASE,
    *RAY,
    "types-PyYAML",
    "pytest>=8.2",
    "pytest-timeout>=2.3",
    "hypothesis>=6.100",
    "httpx>=0.27",
    "selenium>=4.20",
    "setuptools>=68",
    "ruff>=0.17.5,<0.18",
    "mypy>=2.4,<2.5",
]

# `ros2 run` and `ros2 launch` know a node by its executable.
EXECUTABLES = {
    "camera_node": "dygro_ros.nodes.camera_node",
    "policy_node": "dygro_ros.nodes.policy_node",
    "arm_bridge": "dygro_ros.nodes.arm_bridge",
    "supervisor": "dygro_ros.nodes.supervisor",
    "sim_robot": "sim2real.sim_robot_node",
}

LAUNCH_TIME_FILES = {
    "launch": sorted(glob("launch/*.launch.py")),
    "config": sorted(path for path in glob("config/*") if Path(path).is_file()),
    "config/plans": sorted(glob("config/plans/*.yaml")),
}

setup(
    name=NAME,
    version=VERSION[1],
    description="DyGRO-VLA as a robot deployment runtime",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="dygro_ros maintainers",
    maintainer_email="maintainers@example.org",
    python_requires=">=3.10",
    packages=find_packages(
        include=[p for name in (NAME, "models", "sim2real", "training") for p in (name, f"{name}.*")]
    ),
    package_data={
        NAME: ["py.typed", "evaluation/page/static/*"],
        "sim2real.robotwin.policy_folder": ["*.yml", "*.sh"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *((f"share/{NAME}/{folder}", files) for folder, files in LAUNCH_TIME_FILES.items() if files),
    ],
    install_requires=ROBOT,
    extras_require={
        "eval": EVAL,
        "ros": ROS,
        "realsense": REALSENSE,
        "mcap": MCAP,
        "robotwin": ROBOTWIN,
        "train": TRAIN,
        "base": BASE,
        "ray": RAY,
        "test": TEST,
    },
    entry_points={
        "console_scripts": [
            "dygro-start = dygro_ros.start:main",
            "dygro-doctor = dygro_ros.doctor:main",
            "dygro-evaluate = dygro_ros.ros_commands:evaluate",
            "dygro-operator = dygro_ros.ros_commands:operator",
            "dygro-capture-scenes = dygro_ros.ros_commands:capture_scenes",
            "dygro-calibrate-delay = dygro_ros.ros_commands:calibrate_delay",
            *(f"{name} = {module}:main" for name, module in EXECUTABLES.items()),
        ]
    },
    zip_safe=False,
)
