"""The simulator's state of a LIBERO scene: what scripted experts and critics see, and no policy may.

Knows the layout of the critics' vector (`PRIVILEGED_SLICES`), which is the same for every task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import DataError

PROPRIO_SIZE = 8
ARM_JOINTS = 7
LENGTH_SCALE = 5.0  # one unit is 0.2 m
REACH_M = 1.0  # what is farther from the workspace's middle, on any axis, counts as this far
TASK_OBJECTS = 2
MAX_JOINTS = 8

_FIELDS: tuple[tuple[str, int], ...] = (
    ("object_positions", 3 * TASK_OBJECTS),  # of what the goal names; 0 where it names only one
    ("hand_position", 3),  # between the fingertips
    ("hand_rotation", 6),  # first two columns of the rotation
    ("fingers", 2),
    ("object_rotations", 6 * TASK_OBJECTS),
    ("hand_to_object", 3 * TASK_OBJECTS),
    ("joints", MAX_JOINTS),  # knobs, doors and drawers of the scene [rad or m], then 0
    ("time", 1),  # fraction of the step limit used
)


def _slices() -> Mapping[str, slice]:
    slices, start = {}, 0
    for name, size in _FIELDS:
        slices[name] = slice(start, start + size)
        start += size
    return MappingProxyType(slices)


PRIVILEGED_SLICES = _slices()
PRIVILEGED_SIZE = sum(size for _, size in _FIELDS)


@dataclass(frozen=True)
class SceneNames:
    """What the rows of an observation are, as the simulation describes them.

    Attributes:
        objects: LIBERO's names of movable objects, then of fixtures.
        bodies: Bodies of all objects, moving parts included.
        joints: Hinges and slides of fixtures, such as a knob.
        joint_bodies: The body that each of them moves.
        regions: Where something can be placed.
        origin: The middle of the workspace [m].
    """

    objects: tuple[str, ...]
    bodies: tuple[str, ...]
    joints: tuple[str, ...]
    joint_bodies: tuple[str, ...]
    regions: tuple[str, ...]
    origin: tuple[float, ...]

    @classmethod
    def from_description(cls, description: Mapping[str, Sequence[Any]]) -> SceneNames:
        """Return what the simulation's `describe` says."""
        return cls(**{name: tuple(description[name]) for name in cls.__dataclass_fields__})

    def part_of(self, name: str) -> str:
        """Return the body that stands for an object: the part that its first joint moves, else its root."""
        moved = [body for body in self.joint_bodies if body.startswith(f"{name}_")]
        return moved[0] if moved else next(body for body in self.bodies if body.startswith(f"{name}_"))

    def goal_parts(self, goal: Sequence[Sequence[str]]) -> tuple[str, ...]:
        """Return the bodies and regions that a goal is about, at most `TASK_OBJECTS`, objects first."""
        named = list(dict.fromkeys(name for condition in goal for name in condition[1:]))
        objects = [self.part_of(name) for name in named if name in self.objects]
        regions = [name for name in named if name in self.regions]
        return tuple([*objects, *regions][:TASK_OBJECTS])


@dataclass(frozen=True)
class SceneState:
    """One moment of a scene; world coordinates, x away from the robot's base, z up.

    Attributes:
        names: What there is.
        hand_position: Between the fingertips [m], shape (3,).
        hand_quaternion: Of the hand (w, x, y, z), shape (4,).
        fingers: Positions of both fingers, 0 closed [m], shape (2,).
        arm: The arm's joints [rad], shape (7,).
        bodies: Position [m] and quaternion (w, x, y, z) of each body, shape (B, 7).
        joints: [rad or m], shape (J,).
        regions: Positions [m], shape (R, 3).
    """

    names: SceneNames
    hand_position: NDArray[np.float64]
    hand_quaternion: NDArray[np.float64]
    fingers: NDArray[np.float64]
    arm: NDArray[np.float64]
    bodies: NDArray[np.float64]
    joints: NDArray[np.float64]
    regions: NDArray[np.float64]

    @classmethod
    def from_observation(cls, names: SceneNames, observation: Mapping[str, Any]) -> SceneState:
        """Return what the simulation's `observe` says."""
        hand = observation["hand"]
        parts = {name: observation[name] for name in ("arm", "bodies", "joints", "regions")}
        return cls(names, hand[:3], hand[3:7], hand[7:9], **parts)

    @property
    def hand_rotation(self) -> NDArray[np.float64]:
        """The hand's axes as columns, shape (3, 3); the fingers move along y and point along z."""
        return rotation_matrix(self.hand_quaternion)

    def joint(self, name: str) -> float:
        """Return a joint's position [rad or m]."""
        return float(self.joints[self.names.joints.index(name)])

    def position(self, name: str) -> NDArray[np.float64]:
        """Return the position of a body or region [m], shape (3,)."""
        if name in self.names.regions:
            return self.regions[self.names.regions.index(name)]
        return self.bodies[self.names.bodies.index(name), :3]

    def rotation(self, name: str) -> NDArray[np.float64]:
        """Return the axes of a body as columns, shape (3, 3); a region's are the world's."""
        if name in self.names.regions:
            return np.eye(3)
        return rotation_matrix(self.bodies[self.names.bodies.index(name), 3:])

    def proprio(self) -> NDArray[np.float32]:
        """Return what a policy may know of the robot, shape (8,), as LIBERO's and openpi's policies get it.

        The hand's position [m] and axis-angle [rad] and the fingers' positions [m].
        """
        angle = axis_angle(self.hand_quaternion)
        return np.concatenate([self.hand_position, angle, self.fingers]).astype(np.float32)

    def privileged(self, goal_parts: Sequence[str], time_fraction: float) -> NDArray[np.float32]:
        """Return what critics may see, shape (PRIVILEGED_SIZE,), lengths in units of 0.2 m.

        Args:
            goal_parts: See `SceneNames.goal_parts`.
            time_fraction: Steps taken over the step limit.

        Raises:
            DataError: The scene has more joints than the vector holds.
        """
        if len(self.joints) > MAX_JOINTS:
            raise DataError(f"a scene may have {MAX_JOINTS} joints, got {', '.join(self.names.joints)}")
        origin = np.array(self.names.origin)
        vector = np.zeros(PRIVILEGED_SIZE, dtype=np.float32)
        vector[PRIVILEGED_SLICES["hand_position"]] = (self.hand_position - origin) * LENGTH_SCALE
        vector[PRIVILEGED_SLICES["hand_rotation"]] = self.hand_rotation[:, :2].T.ravel()
        vector[PRIVILEGED_SLICES["fingers"]] = self.fingers * LENGTH_SCALE
        vector[PRIVILEGED_SLICES["joints"]][: len(self.joints)] = self.joints
        vector[PRIVILEGED_SLICES["time"]] = time_fraction
        positions = vector[PRIVILEGED_SLICES["object_positions"]].reshape(-1, 3)
        rotations = vector[PRIVILEGED_SLICES["object_rotations"]].reshape(-1, 6)
        distances = vector[PRIVILEGED_SLICES["hand_to_object"]].reshape(-1, 3)
        for index, name in enumerate(goal_parts):
            position = np.clip(self.position(name), origin - REACH_M, origin + REACH_M)
            positions[index] = (position - origin) * LENGTH_SCALE
            rotations[index] = self.rotation(name)[:, :2].T.ravel()
            distances[index] = (position - self.hand_position) * LENGTH_SCALE
        return vector


def rotation_matrix(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation of a unit quaternion (w, x, y, z), shape (3, 3)."""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def axis_angle(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return axis times angle of a unit quaternion (w, x, y, z), angle in 0..2 pi, shape (3,).

    As robosuite's `quat2axisangle`, which the demonstrations' states were made with: a hand that points down
    has an angle near pi, where bringing it to -pi..pi would make it jump.
    """
    w = float(np.clip(quaternion[0], -1.0, 1.0))
    sine = np.sqrt(1.0 - w * w)
    if sine < 1e-8:
        return np.zeros(3)
    return quaternion[1:] / sine * 2.0 * np.arccos(w)
