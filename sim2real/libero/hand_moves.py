"""Moves of LIBERO's hand as small generators: what an expert's script is made of.

A move yields targets; `action_towards` turns one into an OSC_POSE action from where the hand is now. So a
disturbed hand is led back, and the action is a clean label for the state in which it was computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim2real.libero.scene_state import SceneState

OPEN, CLOSE = -1.0, 1.0
CLOSING_STEPS = 8  # the gripper's command changes by a quarter of its half range a step
_TRANSLATION_UNIT_M, _ROTATION_UNIT_RAD = 0.05, 0.5  # what 1 means in an action
# The controller's own gain lets the hand cover a third of what is left in a step.
_TRANSLATION_GAIN, _ROTATION_GAIN = 2.0, 1.5
_POINTING_DOWN = np.diag([1.0, -1.0, -1.0])

Vector = NDArray[np.float64]
Observe = Callable[[], SceneState]
Script = Iterator["HandTarget"]


@dataclass(frozen=True)
class HandTarget:
    """Where the hand should be.

    Attributes:
        position: Between the fingertips [m], shape (3,).
        rotation: The hand's axes as columns, shape (3, 3).
        gripper: `OPEN` or `CLOSE`.
        speed: Largest entry of the action's translation and rotation, 0..1.
    """

    position: Vector
    rotation: Vector
    gripper: float
    speed: float = 1.0


def turned(angle: float) -> Vector:
    """Return the rotation by an angle [rad] about the vertical, shape (3, 3)."""
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def pointing_down(yaw: float) -> Vector:
    """Return the rotation of a hand that points down; at yaw 0 the fingers move along the world's y."""
    return turned(yaw) @ _POINTING_DOWN


def rotation_vector(rotation: Vector) -> Vector:
    """Return axis times angle of a rotation of less than pi [rad], shape (3,)."""
    twice_sine = np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    norm = np.linalg.norm(twice_sine)
    angle = np.arctan2(norm, np.trace(rotation) - 1.0)
    return twice_sine * (angle / norm if norm > 1e-9 else 0.5)


def action_towards(scene: SceneState, target: HandTarget) -> NDArray[np.float32]:
    """Return the action that leads the hand to a target, shape (7,)."""
    move = (target.position - scene.hand_position) * (_TRANSLATION_GAIN / _TRANSLATION_UNIT_M)
    turn = rotation_vector(target.rotation @ scene.hand_rotation.T) * (_ROTATION_GAIN / _ROTATION_UNIT_RAD)
    # Shortened, not clipped by axis: the hand goes straight.
    parts = [part / max(1.0, np.abs(part).max() / target.speed) for part in (move, turn)]
    return np.array([*parts[0], *parts[1], target.gripper], dtype=np.float32)


def distance(scene: SceneState, target: HandTarget) -> tuple[float, float]:
    """Return how far the hand is from a target: [m] and [rad]."""
    turn = rotation_vector(target.rotation @ scene.hand_rotation.T)
    return float(np.linalg.norm(target.position - scene.hand_position)), float(np.linalg.norm(turn))


def go(
    observe: Observe,
    target: HandTarget,
    *,
    tolerance_m: float = 0.01,
    tolerance_rad: float = 0.1,
    max_steps: int = 60,
) -> Script:
    """Move until the hand is at the target, or for so many steps."""
    for _ in range(max_steps):
        away_m, away_rad = distance(observe(), target)
        if away_m < tolerance_m and away_rad < tolerance_rad:
            return
        yield target


def hold(target: HandTarget, steps: int) -> Script:
    """Stay at a target for so many steps, such as while the gripper closes."""
    for _ in range(steps):
        yield target
