"""The robot profile: everything that differs between one robot and another, from one YAML file.

A profile is a ROS 2 parameter file: a section for each node, with the node's parameters. Every field is
required, unknown ones are refused by name, and what a node declares is what its section here holds, so that
the file, the nodes and the in-process runtime cannot drift apart. Knows neither rclpy nor drivers.
"""

from __future__ import annotations

import sys
from os import environ
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from dygro_ros.arm_controller import ControllerConfig
from dygro_ros.chunk_schedule import ScheduleConfig
from dygro_ros.errors import UserError, unknown_name
from dygro_ros.layout import ACTION_SIZE, ARM_JOINTS, JOINT_LOWER, JOINT_NAMES, JOINT_UPPER, SIDES
from dygro_ros.manifest import ActionSpec, CropSpec, Positive, first_reason
from dygro_ros.motion_limits import MotionLimits
from dygro_ros.pacing import Pacing, PacingConfig
from dygro_ros.watchdog import AgeLimits

SIDE_SIZE = ARM_JOINTS + 1
HOLD_WITHIN_S = 0.2

Topic = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*$")]
PerSide = Annotated[tuple[float, ...], Field(min_length=SIDE_SIZE, max_length=SIDE_SIZE)]
PositivePerSide = Annotated[tuple[Positive, ...], Field(min_length=SIDE_SIZE, max_length=SIDE_SIZE)]
Model = TypeVar("Model", bound=BaseModel)
Ages = Annotated[tuple[Positive, ...], Field(min_length=3, max_length=3)]


class Section(BaseModel):
    """Part of a profile: read-only, nothing unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CameraParameters(Section):
    """The camera that looks at the table."""

    driver: Literal["realsense", "replay"]
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    """Namespace of its topics, as realsense-ros has them: /<name>/color/image_raw."""
    serial_no: str
    """Serial number of the RealSense."""
    recording: str
    """Video or MCAP file that driver `replay` plays."""
    width: Annotated[int, Field(ge=16, le=4096)]
    """[px]."""
    height: Annotated[int, Field(ge=16, le=4096)]
    """[px]."""
    rate_hz: Positive
    """Pictures a second."""
    exposure_us: Annotated[int, Field(ge=0)]
    """Locked exposure [us]; 0: automatic."""
    white_balance_k: Annotated[int, Field(ge=0)]
    """Locked white balance [K]; 0: automatic."""
    aligned_depth: bool
    """Whether a RealSense's depth is published too, as its colour camera sees it; no policy needs it."""


class PolicyParameters(Section):
    """What the policy node runs, and on which pictures."""

    bundle: str
    """Folder of the policy bundle."""
    provider: Literal["cpu", "cuda", "tensorrt", "tensorrt_engine"]
    """What must run the graph."""
    threads: Annotated[int, Field(ge=1, le=64)]
    """ONNX Runtime's threads inside one operator."""
    instruction: str
    """What to do, until the topic ~/instruction says otherwise."""
    interval_s: Annotated[float, Field(ge=0, le=5)]
    """Shortest time between two pictures that are answered, where chunks cannot be played whole [s]."""
    whole_within_s: Annotated[float, Field(ge=0, le=5)]
    """Chunks are played whole where answers are no older than this on arrival [s]; 0: never."""
    image_topics: Annotated[tuple[Topic, ...], Field(min_length=1)]
    """sensor_msgs/Image of each camera, in the bundle's order."""
    crop: Annotated[tuple[float, ...], Field(min_length=4)]
    """Left, top, right, bottom of the part of each picture that shows what the cell's camera shows, as
    fractions; four values a camera."""

    @model_validator(mode="after")
    def _crops(self) -> PolicyParameters:
        if len(self.crop) != 4 * len(self.image_topics):
            raise ValueError(
                f"crop must hold 4 values for each of {len(self.image_topics)} image topics, "
                f"got {len(self.crop)}"
            )
        _ = self.crops
        return self

    def pacing(self, action: ActionSpec) -> Pacing:
        """Return when this robot's policy looks again, for a bundle's chunks."""
        period_s = 1 / action.rate_hz
        chunk_s = action.chunk_length * period_s
        return Pacing(PacingConfig(chunk_s, period_s, self.interval_s, self.whole_within_s))

    @property
    def cameras(self) -> tuple[str, ...]:
        """Name of each camera: the first part of its topic."""
        return tuple(topic.split("/")[1] for topic in self.image_topics)

    @property
    def crops(self) -> tuple[CropSpec, ...]:
        """The crop of each camera."""
        fields = ("left", "top", "right", "bottom")
        rows = [self.crop[start : start + 4] for start in range(0, len(self.crop), 4)]
        return tuple(CropSpec(**dict(zip(fields, row, strict=True))) for row in rows)


class ArmParameters(Section):
    """One arm as its driver presents it."""

    state_topic: Topic
    """sensor_msgs/JointState with measured joints."""
    command_topic: Topic
    joint_names: Annotated[tuple[str, ...], Field(min_length=SIDE_SIZE, max_length=SIDE_SIZE)]
    """The driver's names of joints 1 to 6 and of the gripper."""
    gripper_closed: float
    """What the driver calls closed, in its own unit."""
    gripper_open: float
    """What it calls open."""

    @model_validator(mode="after")
    def _distinct(self) -> ArmParameters:
        if self.gripper_closed == self.gripper_open:
            raise ValueError("gripper_closed and gripper_open must differ")
        if len(set(self.joint_names)) != SIDE_SIZE:
            raise ValueError("joint_names must be distinct")
        return self


class LimitsParameters(Section):
    """Limits of one arm's joints 1 to 6 and gripper, the same for both arms [rad, fraction open; per s]."""

    velocity: PositivePerSide
    acceleration: PositivePerSide
    jerk: PositivePerSide
    tracking: PositivePerSide
    """Largest distance of a command from the measured position."""
    tracking_fault: PositivePerSide
    """Distance of what was sent to what is measured that is a fault."""


class AgesParameters(Section):
    """Ages at which a source is reported, stops the arms, and is a fault [s]."""

    arm: Ages
    camera: Ages
    policy: Ages
    operator: Ages


class HomeParameters(Section):
    """The home pose in joint units, and how fast to go there."""

    left: PerSide
    right: PerSide
    velocity: PositivePerSide


class SidesParameters(Section):
    """Both arms."""

    left: ArmParameters
    right: ArmParameters


class BridgeParameters(Section):
    """The arm bridge: the only node that commands the arms."""

    control_rate_hz: Annotated[float, Field(ge=50, le=1000)]
    """Commands a second."""
    realtime_priority: Annotated[int, Field(ge=0, le=98)]
    """Real-time priority of the control loop (SCHED_FIFO), where the system permits it; 0: none."""
    action_rate_hz: Positive
    """Actions a second of the chunks it takes."""
    driver: Literal["joint_state", "joint_trajectory"]
    """Commands as sensor_msgs/JointState, or as trajectory_msgs/JointTrajectory (ros2_control)."""
    arms: SidesParameters
    camera_info_topics: Annotated[tuple[Topic, ...], Field(min_length=1)]
    """sensor_msgs/CameraInfo of each camera that the policy sees."""
    limits: LimitsParameters
    ages: AgesParameters
    operator_required: bool
    """Whether the arms may only move while an operator's heartbeat comes."""
    home: HomeParameters
    rest_velocity: Positive
    """Measured speed below which a joint counts as resting [rad/s]."""
    fusion: Literal["blend", "ensemble"]
    blend_s: Annotated[float, Field(ge=0, le=1)]
    """Time in which a new chunk takes over [s]."""
    loop_delay_s: Annotated[float, Field(ge=0, le=1)]
    """Measured delay from a command to its picture [s], beyond that of the cell the policy learned in."""

    @model_validator(mode="after")
    def _holds_in_time(self) -> BridgeParameters:
        stop_s = self.controller().limits.longest_stop_s(1 / self.control_rate_hz)
        for name in ("arm", "camera", "policy"):
            late_s = getattr(self.ages, name)[1]
            if late_s + stop_s > HOLD_WITHIN_S:
                raise ValueError(
                    f"the arms must hold {HOLD_WITHIN_S:g} s after ages.{name} fails, but it counts as "
                    f"late after {late_s:g} s and the slowest stop takes {stop_s:.3f} s: raise "
                    "limits.acceleration or limits.jerk, or lower limits.velocity"
                )
        return self

    @property
    def cameras(self) -> tuple[str, ...]:
        """Name of each camera: the first part of its topic."""
        return tuple(topic.split("/")[1] for topic in self.camera_info_topics)

    def controller(self) -> ControllerConfig:
        """Return what the arm controller needs."""
        ages = {camera: AgeLimits(*self.ages.camera) for camera in self.cameras}
        ages["policy"] = AgeLimits(*self.ages.policy)
        if self.operator_required:
            ages["operator"] = AgeLimits(*self.ages.operator)
        return ControllerConfig(
            joint_names=JOINT_NAMES,
            limits=MotionLimits(
                lower=JOINT_LOWER.astype(np.float64),
                upper=JOINT_UPPER.astype(np.float64),
                velocity=_both(self.limits.velocity),
                acceleration=_both(self.limits.acceleration),
                jerk=_both(self.limits.jerk),
            ),
            schedule=ScheduleConfig(
                period_s=1 / self.action_rate_hz, fusion=self.fusion, blend_s=self.blend_s
            ),
            ages=ages | {side: AgeLimits(*self.ages.arm) for side in SIDES},
            arm_of_joint=tuple(side for side in SIDES for _ in range(SIDE_SIZE)),
            period_s=1 / self.control_rate_hz,
            tracking=_both(self.limits.tracking),
            tracking_fault=_both(self.limits.tracking_fault),
            home=np.array([*self.home.left, *self.home.right]),
            home_velocity=_both(self.home.velocity),
            rest_velocity=np.full(ACTION_SIZE, self.rest_velocity),
        )


class RobotProfile(Section):
    """One robot."""

    arm_bridge: BridgeParameters
    policy_node: PolicyParameters
    camera_node: CameraParameters | None = None
    """Unset where another node publishes the pictures."""
    sim_robot: dict[str, Any] | None = None
    """Parameters of the simulated robot, which reads them itself."""

    @model_validator(mode="after")
    def _watches_what_is_seen(self) -> RobotProfile:
        watched, seen = self.arm_bridge.cameras, self.policy_node.cameras
        if watched != seen:
            raise ValueError(
                f"arm_bridge.camera_info_topics are of cameras {', '.join(watched)}, but "
                f"policy_node.image_topics of {', '.join(seen)}"
            )
        return self


def _both(values: tuple[float, ...]) -> NDArray[np.float64]:
    return np.array([*values, *values])


def read_profile(source: str | Path) -> RobotProfile:
    """Read a profile: a path to a YAML file, or the name of one that comes with the package.

    Raises:
        UserError: There is no such profile, or a field is missing, unknown or of another kind; names it.
    """
    path = profile_path(source)
    try:
        sections = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such robot profile") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {error}") from error
    if not isinstance(sections, dict):
        raise UserError(f"{path} must hold a section for each node, found {type(sections).__name__}")
    values = {}
    for node, section in sections.items():
        if not isinstance(section, dict) or set(section) != {"ros__parameters"}:
            raise UserError(f"{path}: {node} must hold ros__parameters and nothing else")
        values[node] = section["ros__parameters"]
    return checked(RobotProfile, values, str(path))


def checked(model: type[Model], values: dict[str, Any], where: str) -> Model:
    """Return the values as a section, or name the first field that is wrong.

    Raises:
        UserError: A field is missing, unknown or of another kind.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{where}: {first_reason(error)}") from error


def profile_path(source: str | Path) -> Path:
    """Return the file of a profile given by name or path.

    Raises:
        UserError: No profile has this name.
    """
    if Path(source).suffix in (".yaml", ".yml"):
        return Path(source)
    found = {path.stem: path for folder in reversed(_folders()) for path in sorted(folder.glob("*.yaml"))}
    if str(source) not in found:
        raise unknown_name("robot profile", str(source), sorted(found), "robot")
    return found[str(source)]


def config_file(name: str) -> Path:
    """Return a file that comes with the profiles.

    Raises:
        UserError: It is not there.
    """
    for folder in _folders():
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{name} is not in {' or '.join(map(str, _folders()))}: install dygro_ros anew")


def _folders() -> list[Path]:
    """Return where profiles may lie: a checkout, a ROS installation, pip's prefix; the first one counts."""
    prefixes = [Path(place) for place in environ.get("AMENT_PREFIX_PATH", "").split(":") if place]
    shares = [prefix / "share" / "dygro_ros" / "config" for prefix in (*prefixes, Path(sys.prefix))]
    return [Path(__file__).resolve().parents[1] / "config", *shares]
