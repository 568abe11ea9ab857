"""Where a chunk would take the hands, as critics see it: features of (privileged state, chunk), in torch.

Whether a grasp holds is decided by millimetres between hand and object. As plain coordinates these are a
hundredth of the input's range, and a critic learns how value varies between scenes but not how it varies
with a residual of a few millimetres. So the chunk's commanded joints go through the arms' forward kinematics,
and hand-to-object and object-to-goal offsets, now and along the chunk, are shown at several scales. Gradients
pass from the value through the kinematics to the chunk. For training alone: no robot needs this module.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dygro_ros.layout import ARM_INDICES, GRIPPER_INDICES, SIDES
from sim2real.cell import arms
from sim2real.cell.privileged import LENGTH_SCALE, ORIGIN_M, PRIVILEGED_SLICES

SCALES_M = (0.01, 0.03, 0.1)
"""Offsets are shown as tanh(offset / scale) for each of these."""
ARMS = len(SIDES)
OBJECTS = 2


class HandPose(NamedTuple):
    """Tool centre points in the cell frame."""

    position: Tensor
    """(B, 3) [m]."""
    rotation: Tensor
    """(B, 3, 3); columns are the frame's axes."""


def forward_kinematics(joints: Tensor, side: str) -> HandPose:
    """Return the pose of one arm's tool centre point; `arms.ArmKinematics.forward` in torch.

    Args:
        joints: Joints of the arm [rad], (B, 6).
        side: "left" or "right".
    """
    q1, q2, q3, q4, q5, q6 = joints.unbind(-1)
    upper = math.pi + arms.SHOULDER_PITCH_RAD - q2
    forearm = upper - q3 + arms.FOREARM_ELEVATION_RAD
    reach = arms.UPPER_ARM_M * upper.cos() + arms.FOREARM_M * forearm.cos()
    height = arms.SHOULDER_HEIGHT_M + arms.UPPER_ARM_M * upper.sin() + arms.FOREARM_M * forearm.sin()
    yaw = q1 + arms.BASE_YAW_RAD
    base = torch.as_tensor(arms.base_position(side), dtype=joints.dtype)
    wrist = base + torch.stack([reach * yaw.cos(), reach * yaw.sin(), height], dim=-1)
    elevation = upper - q3 - arms.ELBOW_OFFSET_RAD + math.pi / 2
    ce, se, cy, sy = elevation.cos(), elevation.sin(), yaw.cos(), yaw.sin()
    forearm_frame = _matrix(
        [[se * cy, -sy, ce * cy], [se * sy, cy, ce * sy], [-ce, torch.zeros_like(ce), se]]
    )
    ca, sa, cb, sb, cc, sc = q4.cos(), q4.sin(), q5.cos(), q5.sin(), q6.cos(), q6.sin()
    wrist_frame = _matrix(
        [
            [ca * cb * cc - sa * sc, -ca * cb * sc - sa * cc, ca * sb],
            [sa * cb * cc + ca * sc, -sa * cb * sc + ca * cc, sa * sb],
            [-sb * cc, sb * sc, cb],
        ]
    )
    rotation = forearm_frame @ wrist_frame
    return HandPose(wrist + arms.WRIST_TO_TCP_M * rotation[..., 2], rotation)


def _matrix(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _at_scales(offsets: Tensor) -> Tensor:
    """(B, ...) [m] -> (B, values x scales), each in -1..1."""
    flat = offsets.flatten(1)
    return torch.cat([torch.tanh(flat / scale) for scale in SCALES_M], dim=-1)


def _in_frame(rotation: Tensor, vectors: Tensor) -> Tensor:
    """Express vectors (B, N, 3) in frames (B, 3, 3)."""
    return vectors @ rotation


class HandGeometry(nn.Module):
    """Features of a chunk in the simulated cell, (B, `size`)."""

    scale: Tensor
    origin: Tensor

    def __init__(self, scale: Tensor, chunk: int) -> None:
        """Prepare.

        Args:
            scale: Normalised 1.0 in joint units, (14,): `ActionSpace.scale`.
            chunk: h.
        """
        super().__init__()
        self.register_buffer("scale", scale.clone())
        self.register_buffer("origin", torch.as_tensor(ORIGIN_M, dtype=torch.float32))
        self.steps = ((chunk - 1) // 2, chunk - 1)
        offsets = OBJECTS + ARMS * OBJECTS * (1 + 2 * len(self.steps))
        heights = ARMS * len(self.steps)
        rotations = ARMS * OBJECTS * len(self.steps) * 6
        self.size = len(SCALES_M) * (3 * offsets + heights) + rotations + ARMS * chunk

    def forward(self, privileged: Tensor, chunk: Tensor) -> Tensor:
        """Return the features, in single precision whatever the autocast: half a one keeps only centimetres.

        Args:
            privileged: Simulator state, (B, P) as in `PRIVILEGED_SLICES`.
            chunk: Normalised chunk, (B, h, 14).
        """
        with torch.autocast(privileged.device.type, enabled=False):
            return self._features(privileged.float(), chunk.float())

    def _features(self, privileged: Tensor, chunk: Tensor) -> Tensor:
        def field(name: str, *shape: int) -> Tensor:
            return privileged[:, PRIVILEGED_SLICES[name]].unflatten(1, shape)

        joints = privileged[:, PRIVILEGED_SLICES["joints"]]
        objects = field("object_positions", OBJECTS, 3) / LENGTH_SCALE + self.origin
        to_goal = field("object_to_goal", OBJECTS, 3) / LENGTH_SCALE
        axes = field("object_rotations", OBJECTS * 2, 3)
        features = [_at_scales(to_goal)]
        for arm, side in enumerate(SIDES):
            columns = list(ARM_INDICES[6 * arm : 6 * arm + 6])
            measured = joints[:, columns]
            now = forward_kinematics(measured, side)
            held = _in_frame(now.rotation, objects - now.position.unsqueeze(1))
            features.append(_at_scales(held))
            for step in self.steps:
                then = forward_kinematics(measured + chunk[:, step, columns] * self.scale[columns], side)
                features.append(_at_scales(_in_frame(then.rotation, objects - then.position.unsqueeze(1))))
                # Where the objects would be if this hand carried them.
                carried = then.position.unsqueeze(1) + held @ then.rotation.transpose(1, 2)
                features.append(_at_scales(objects + to_goal - carried))
                features.append(_in_frame(then.rotation, axes).flatten(1))
                features.append(_at_scales(then.position[:, 2:] - self.origin[2]))
            features.append(chunk[:, :, GRIPPER_INDICES[arm]])
        return torch.cat(features, dim=-1)
