"""One Piper-like arm: link geometry, home pose, forward and inverse kinematics.

Link frames and joint limits are those of AgileX's published Piper URDF (with its 0.09 mm wrist offset left
out, so that the last three axes meet in one point and the inverse kinematics has a closed form).

Frames: the base frame has x forward, z up; an arm's tool centre point (TCP) frame has z along the fingers
(the approach direction), y along the closing direction. This module knows no table, no object and no task.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from dygro_ros.layout import ARM_LOWER, ARM_UPPER

BASE_X_M = 0.28
BASE_Y_M = -0.32
BASE_Z_M = 0.74
BASE_YAW_RAD = math.pi / 2  # the base frame's x points away from the robot: the cell's +y

SHOULDER_HEIGHT_M = 0.123
UPPER_ARM_M = 0.28503
FOREARM_X_M = -0.021984
FOREARM_Y_M = -0.25075
FOREARM_M = math.hypot(FOREARM_X_M, FOREARM_Y_M)
WRIST_TO_FLANGE_M = 0.091
FLANGE_TO_TCP_M = 0.14
WRIST_TO_TCP_M = WRIST_TO_FLANGE_M + FLANGE_TO_TCP_M

SHOULDER_PITCH_RAD = -0.1359
ELBOW_OFFSET_RAD = -1.7939
# Elevation of the forearm = elevation of the upper arm - joint3 + this (both at zero joints).
FOREARM_ELEVATION_RAD = -ELBOW_OFFSET_RAD + math.atan2(-FOREARM_Y_M, FOREARM_X_M)

FINGER_STROKE_M = 0.04  # each finger; the jaws open 80 mm

# [rad] per joint: folded, turned outwards and hand raised, so that neither hand hides an object from the head
# camera. Mirrored in joint1 for the left arm.
HOME_RIGHT = (-0.55, 0.35, -0.35, 0.0, -0.55, 0.0)

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Pose:
    """A rigid pose.

    Attributes:
        position: Origin [m], shape (3,), cell frame.
        rotation: Columns are the frame's axes, shape (3, 3).
    """

    position: Vector
    rotation: Vector


def home_joints(side: str) -> Vector:
    """Return the folded pose of one arm [rad], shape (6,)."""
    joints = np.array(HOME_RIGHT, dtype=np.float64)
    if side == "left":
        joints[0] = -joints[0]
    return joints


def base_position(side: str) -> Vector:
    """Return where one arm's base stands [m], shape (3,), cell frame."""
    sign = -1.0 if side == "left" else 1.0
    return np.array([sign * BASE_X_M, BASE_Y_M, BASE_Z_M])


def rotation_xyz(roll: float, pitch: float, yaw: float) -> Vector:
    """Return Rz(yaw) Ry(pitch) Rx(roll), URDF's `rpy`, shape (3, 3)."""
    cr, sr, cp, sp, cy, sy = (f(a) for a in (roll, pitch, yaw) for f in (math.cos, math.sin))
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def gripper_rotation(tilt: float, azimuth: float, roll: float = 0.0) -> Vector:
    """Return the TCP rotation of a gripper that points `tilt` below the horizon towards `azimuth` [rad].

    With `roll` 0 the fingers close along the horizontal; `roll` turns them about the approach direction.
    """
    ct, st, ca, sa = math.cos(tilt), math.sin(tilt), math.cos(azimuth), math.sin(azimuth)
    approach = np.array([ct * ca, ct * sa, -st])
    across = np.array([-sa, ca, 0.0])
    down = np.cross(across, approach)
    closing = math.cos(roll) * across - math.sin(roll) * down
    return np.column_stack([np.cross(closing, approach), closing, approach])


class ArmKinematics:
    """Forward and closed-form inverse kinematics of one arm; holds no state of any simulation."""

    def __init__(self, side: str) -> None:
        """Prepare one arm.

        Args:
            side: "left" or "right".
        """
        self.side = side
        self.base = base_position(side)

    def forward(self, joints: Vector) -> Pose:
        """Return the TCP pose in the cell frame for joints [rad], shape (6,)."""
        q1, q2, q3, q4, q5, q6 = (float(q) for q in joints)
        upper = math.pi + SHOULDER_PITCH_RAD - q2
        forearm = upper - q3 + FOREARM_ELEVATION_RAD
        reach = UPPER_ARM_M * math.cos(upper) + FOREARM_M * math.cos(forearm)
        height = SHOULDER_HEIGHT_M + UPPER_ARM_M * math.sin(upper) + FOREARM_M * math.sin(forearm)
        yaw = q1 + BASE_YAW_RAD
        wrist = self.base + np.array([reach * math.cos(yaw), reach * math.sin(yaw), height])
        rotation = _wrist_base(yaw, upper, q3) @ _zyz(q4, q5, q6)
        return Pose(wrist + WRIST_TO_TCP_M * rotation[:, 2], rotation)

    def inverse(self, pose: Pose, reference: Vector, *, margin: float = 0.0) -> Vector | None:
        """Return the joints [rad] that reach `pose` and lie nearest to `reference`, shape (6,).

        Args:
            pose: TCP pose, cell frame.
            reference: Joints [rad] to stay near, shape (6,).
            margin: Distance [rad] to keep from every joint limit.

        Returns:
            None where no solution lies inside the limits.
        """
        wrist = pose.position - WRIST_TO_TCP_M * pose.rotation[:, 2] - self.base
        planar = math.hypot(wrist[0], wrist[1])
        heading = math.atan2(wrist[1], wrist[0]) - BASE_YAW_RAD
        height = wrist[2] - SHOULDER_HEIGHT_M
        cosine = (planar**2 + height**2 - UPPER_ARM_M**2 - FOREARM_M**2) / (2 * UPPER_ARM_M * FOREARM_M)
        if abs(cosine) > 1.0:
            return None
        best: Vector | None = None
        best_cost = math.inf
        shoulders = ((planar, _wrap(heading)), (-planar, _wrap(heading + math.pi)))
        bends = (
            math.acos(cosine),
            -math.acos(cosine),
        )  # the elbow can also be stretched a little beyond straight
        for (reach, q1), bend in product(shoulders, bends):
            q3 = bend + FOREARM_ELEVATION_RAD - 2 * math.pi
            upper = math.atan2(height, reach) + math.atan2(
                FOREARM_M * math.sin(bend), UPPER_ARM_M + FOREARM_M * math.cos(bend)
            )
            q2 = _wrap(math.pi + SHOULDER_PITCH_RAD - upper)
            if not _inside((q1, q2, q3), margin):
                continue
            euler = _wrist_base(q1 + BASE_YAW_RAD, upper, q3).T @ pose.rotation
            for wrist_joints in _wrist_solutions(euler, float(reference[3])):
                joints = (q1, q2, q3, *wrist_joints)
                if not _inside(joints, margin):
                    continue
                cost = sum((a - b) ** 2 for a, b in zip(joints, reference, strict=True))
                if cost < best_cost:
                    best, best_cost = np.array(joints), cost
        return best


def _wrap(angle: float) -> float:
    return (angle + math.pi) % (2 * math.pi) - math.pi


def _inside(joints: tuple[float, ...], margin: float) -> bool:
    limits = zip(joints, ARM_LOWER, ARM_UPPER, strict=False)
    return all(low + margin <= q <= high - margin for q, low, high in limits)


def _wrist_base(yaw: float, upper: float, q3: float) -> Vector:
    """Rotation of the frame about whose z joint4 turns; `upper` is the upper arm's elevation [rad]."""
    # joint4's axis (z) lies in the arm's plane; y is joint5's axis at joint4 = 0.
    elevation = upper - q3 - ELBOW_OFFSET_RAD + math.pi / 2
    ce, se, cy, sy = math.cos(elevation), math.sin(elevation), math.cos(yaw), math.sin(yaw)
    return np.array([[se * cy, -sy, ce * cy], [se * sy, cy, ce * sy], [-ce, 0.0, se]])


def _zyz(a: float, b: float, c: float) -> Vector:
    ca, sa, cb, sb, cc, sc = (f(t) for t in (a, b, c) for f in (math.cos, math.sin))
    return np.array(
        [
            [ca * cb * cc - sa * sc, -ca * cb * sc - sa * cc, ca * sb],
            [sa * cb * cc + ca * sc, -sa * cb * sc + ca * cc, sa * sb],
            [-sb * cc, sb * sc, cb],
        ]
    )


def _wrist_solutions(rotation: Vector, q4_reference: float) -> list[tuple[float, float, float]]:
    """Z-Y-Z Euler angles of `rotation`, with both signs of joint5."""
    cosine = min(1.0, max(-1.0, float(rotation[2, 2])))
    sine = math.hypot(rotation[0, 2], rotation[1, 2])
    if sine < 1e-6:  # joint4 and joint6 are parallel: keep joint4 where it is
        turn = math.atan2(rotation[1, 0], rotation[0, 0])
        # if joint6 cannot take the rest of the turn, joint4 must; a full turn more or less may fit where one
        # leaves the limits
        slack = _wrap(turn - q4_reference)
        triples = []
        for rest in (slack, slack - 2 * math.pi, slack + 2 * math.pi) if cosine > 0 else ():
            q6 = min(max(rest, ARM_LOWER[5] + 0.1), ARM_UPPER[5] - 0.1)
            triples.append((q4_reference + rest - q6, 0.0, q6))
    else:
        q5 = math.atan2(sine, cosine)
        q4 = math.atan2(rotation[1, 2], rotation[0, 2])
        q6 = math.atan2(rotation[2, 1], -rotation[2, 0])
        triples = [(q4, q5, q6), (q4 + math.pi, -q5, q6 + math.pi)]
    return [(_wrap(q4), q5, _wrap(q6)) for q4, q5, q6 in triples]
