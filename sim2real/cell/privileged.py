"""The privileged state: what critics may see of the simulation and no robot ever measures.

Lengths are scaled by `LENGTH_SCALE` about the cell's middle so that every value is of order one. Knows the
layout of the vector (`PRIVILEGED_SLICES`); knows no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from dygro_ros.layout import ACTION_SIZE
from sim2real.cell.scene import TABLE_TOP_Z_M
from sim2real.cell.tasks import TASKS

LENGTH_SCALE = 5.0  # one unit is 0.2 m
REACH_M = 1.0  # an object farther from the cell's middle, on any axis, counts as this far: it is out of play
ORIGIN_M = np.array([0.0, 0.0, TABLE_TOP_Z_M])

_FIELDS: tuple[tuple[str, int], ...] = (
    ("joints", ACTION_SIZE),  # measured, joint units
    ("gripper_positions", 6),  # left xyz, right xyz
    ("gripper_rotations", 12),  # left, right: first two columns of the rotation
    ("object_positions", 6),  # first and second object of the task
    ("object_rotations", 12),
    ("goal_positions", 6),  # see tasks.goal_positions
    ("gripper_to_object", 12),  # left to both objects, right to both objects
    ("object_to_goal", 6),
    ("contacts", 4),  # 1 where a finger touches: left to both objects, right to both
    ("time", 1),  # fraction of the step limit used
    ("task", len(TASKS)),  # one-hot
)


def _slices() -> Mapping[str, slice]:
    slices, start = {}, 0
    for name, size in _FIELDS:
        slices[name] = slice(start, start + size)
        start += size
    return MappingProxyType(slices)


PRIVILEGED_SLICES = _slices()
PRIVILEGED_SIZE = sum(size for _, size in _FIELDS)


def privileged_vector(
    *,
    joints: NDArray[np.floating],
    gripper_positions: NDArray[np.float64],
    gripper_rotations: NDArray[np.float64],
    object_positions: NDArray[np.float64],
    object_rotations: NDArray[np.float64],
    goals: NDArray[np.float64],
    has_goal: NDArray[np.bool_],
    contacts: NDArray[np.bool_],
    time_fraction: float,
    task: str,
) -> NDArray[np.float32]:
    """Assemble the vector, shape (PRIVILEGED_SIZE,).

    Args:
        joints: Measured joints, joint units, shape (14,).
        gripper_positions: Left and right TCP [m], shape (2, 3).
        gripper_rotations: Their axes as columns, shape (2, 3, 3).
        object_positions: The task's two objects [m], shape (2, 3).
        object_rotations: Their axes as columns, shape (2, 3, 3).
        goals: Where each object should go [m], shape (2, 3).
        has_goal: False where an object has no goal (its goal entries stay 0), shape (2,).
        contacts: Finger of gripper i touches object j, shape (2, 2).
        time_fraction: Steps taken over the step limit.
        task: The instructed task.
    """
    object_positions = np.clip(object_positions, ORIGIN_M - REACH_M, ORIGIN_M + REACH_M)
    goals = np.clip(goals, ORIGIN_M - REACH_M, ORIGIN_M + REACH_M)
    fields = {
        "joints": joints,
        "gripper_positions": (gripper_positions - ORIGIN_M) * LENGTH_SCALE,
        "gripper_rotations": gripper_rotations[:, :, :2].transpose(0, 2, 1),
        "object_positions": (object_positions - ORIGIN_M) * LENGTH_SCALE,
        "object_rotations": object_rotations[:, :, :2].transpose(0, 2, 1),
        "goal_positions": (goals - ORIGIN_M) * LENGTH_SCALE * has_goal[:, None],
        "gripper_to_object": (object_positions[None] - gripper_positions[:, None]) * LENGTH_SCALE,
        "object_to_goal": (goals - object_positions) * LENGTH_SCALE * has_goal[:, None],
        "contacts": contacts,
        "time": np.array([time_fraction]),
        "task": np.array([task == name for name in TASKS]),
    }
    vector = np.empty(PRIVILEGED_SIZE, dtype=np.float32)
    for name, position in PRIVILEGED_SLICES.items():
        vector[position] = fields[name].ravel()
    return vector
