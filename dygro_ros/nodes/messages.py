"""Between ROS messages and arrays; refuses what does not fit before anything of it is used."""

from __future__ import annotations

import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration, Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from numpy.typing import NDArray
from sensor_msgs.msg import Image, JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from dygro_ros.errors import UserError
from dygro_ros.picture import picture_from

# Times of a chunk's points may differ from even steps by this much [s].
STEP_TOLERANCE_S = 1e-4
# Before the names of the joints in the base policy's columns of a chunk.
BASE = "base/"


def to_ns(stamp: Time | Duration) -> int:
    """Return a stamp or duration in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def to_stamp(ns: int) -> Time:
    """Return nanoseconds as a stamp."""
    return Time(sec=ns // 1_000_000_000, nanosec=ns % 1_000_000_000)


def picture_of(message: Image) -> NDArray[np.uint8]:
    """Return an image message's picture, (H, W, 3) RGB; a view of the message where it is RGB already.

    Raises:
        UserError: Another encoding than rgb8 or bgr8, or sizes that contradict one another.
    """
    return picture_from(message.encoding, message.height, message.width, message.step, message.data)


def image_message(picture: NDArray[np.uint8], stamp_ns: int, frame: str) -> Image:
    """Return a picture, (H, W, 3) RGB, as a message."""
    message = Image(
        height=picture.shape[0], width=picture.shape[1], encoding="rgb8", step=3 * picture.shape[1]
    )
    message.header.stamp, message.header.frame_id = to_stamp(stamp_ns), frame
    # An array is taken over as it is; a list would be copied item by item.
    message.data = array.array("B", picture.tobytes())
    return message


def depth_message(depth: NDArray[np.uint16], stamp_ns: int, frame: str) -> Image:
    """Return distances, (H, W) [mm], as a message."""
    height, width = depth.shape
    message = Image(height=height, width=width, encoding="16UC1", step=2 * width)
    message.header.stamp, message.header.frame_id = to_stamp(stamp_ns), frame
    message.data = array.array("B", depth.astype("<u2").tobytes())
    return message


def trajectory_message(
    positions: NDArray[np.floating], names: Sequence[str], stamp_ns: int, period_s: float
) -> JointTrajectory:
    """Return positions, (h, N), as a trajectory that begins at its stamp, one point each period."""
    message = JointTrajectory(joint_names=list(names))
    message.header.stamp = to_stamp(stamp_ns)
    for step, position in enumerate(positions.astype(np.float64)):
        begins_ns = round(step * period_s * 1e9)
        point = JointTrajectoryPoint(positions=array.array("d", position))
        point.time_from_start = Duration(sec=begins_ns // 10**9, nanosec=begins_ns % 10**9)
        message.points.append(point)
    return message


def chunk_message(
    chunk: NDArray[np.floating],
    base_chunk: NDArray[np.floating],
    names: Sequence[str],
    stamp_ns: int,
    period_s: float,
) -> JointTrajectory:
    """Return a chunk and the same without residual, (h, N) joint units each, as one trajectory.

    It begins at its observation's stamp. Both travel together because neither is of use without the other:
    the base policy's columns follow, each named as its joint with `base/` before it.
    """
    both = np.hstack([chunk, base_chunk])
    return trajectory_message(both, [*names, *(BASE + name for name in names)], stamp_ns, period_s)


def chunk_of(
    message: JointTrajectory, period_s: float
) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.float64]]:
    """Return a trajectory's joint names, chunk and base chunk, (h, N) each, columns in the names' order.

    Raises:
        UserError: No points, points of different lengths, times that are not even steps of `period_s`, or
            joints without the base policy's columns after them.
    """
    if not message.points:
        raise UserError("expected a chunk of one point or more, got none")
    columns = len(message.joint_names)
    names = tuple(message.joint_names[: columns // 2])
    if tuple(message.joint_names[columns // 2 :]) != tuple(BASE + name for name in names):
        expected = ", ".join([*names, *(BASE + name for name in names)])
        raise UserError(
            f"a chunk must name its joints, then the same with {BASE} before them: expected {expected}; "
            f"got {', '.join(message.joint_names)}"
        )
    for step, point in enumerate(message.points):
        if len(point.positions) != columns:
            raise UserError(f"point {step} must have {columns} positions, got {len(point.positions)}")
        begins_s = to_ns(point.time_from_start) * 1e-9
        if abs(begins_s - step * period_s) > STEP_TOLERANCE_S:
            raise UserError(
                f"a chunk's actions must be {period_s:g} s apart, but action {step} begins at {begins_s:g} s"
            )
    both = np.array([point.positions for point in message.points], dtype=np.float64)
    return names, both[:, : len(names)], both[:, len(names) :]


def joint_state(names: Sequence[str], positions: Sequence[float], stamp_ns: int) -> JointState:
    """Return joint positions as a message."""
    message = JointState(name=list(names), position=array.array("d", positions))
    message.header.stamp = to_stamp(stamp_ns)
    return message


def diagnostics(
    name: str, level: int, text: str, values: dict[str, object], stamp_ns: int
) -> DiagnosticArray:
    """Return one node's status as /diagnostics takes it; `level` is DiagnosticStatus.OK, WARN or ERROR."""
    status = DiagnosticStatus(
        level=bytes([level]),
        name=name,
        message=text,
        hardware_id="dygro_ros",
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )
    message = DiagnosticArray(status=[status])
    message.header.stamp = to_stamp(stamp_ns)
    return message
