"""What critics see of a RoboTwin scene: joints, hands, two objects, time. Runs in both interpreters.

RoboTwin creates the objects of a task before anything that only clutters the table, so the first two are the
task's, and it is by them that most tasks are decided.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dygro_ros.layout import ACTION_SIZE, SIDES
from sim2real.robotwin.arms import measured_joints

OBJECTS = 2
_POSE = 7  # position [m], quaternion (w, x, y, z)
_SCENERY = ("", "ground", "table", "wall")
PRIVILEGED_SLICES = {
    "joints": slice(0, ACTION_SIZE),
    "hands": slice(ACTION_SIZE, ACTION_SIZE + 2 * _POSE),
    "object_positions": slice(28, 28 + 3 * OBJECTS),
    "object_rotations": slice(34, 34 + 4 * OBJECTS),
    "time": slice(42, 43),
}
PRIVILEGED_SIZE = 43


def privileged_state(task_env: Any) -> NDArray[np.float32]:
    """Return the state that critics see, (43,); see `PRIVILEGED_SLICES`.

    Measured joints, both hands' centres (position [m] and quaternion w x y z), positions of two objects [m],
    their quaternions, and the share of the steps that is used up. A scene with one object has zeros for the
    other.
    """
    robot = task_env.robot
    hands = [getattr(robot, f"get_{side}_tcp_pose")() for side in SIDES]
    poses = _object_poses(task_env.scene, robot)
    positions, rotations = np.zeros((OBJECTS, 3)), np.zeros((OBJECTS, 4))
    for index, pose in enumerate(poses[:OBJECTS]):
        positions[index], rotations[index] = pose.p, pose.q
    parts = [
        measured_joints(robot),
        np.asarray(hands, np.float64).ravel(),
        positions.ravel(),
        rotations.ravel(),
        [task_env.take_action_cnt / task_env.step_lim],
    ]
    return np.concatenate(parts).astype(np.float32)


def _object_poses(scene: Any, robot: Any) -> list[Any]:
    """Return the poses of what is not scenery, free objects first, then those with joints of their own."""
    actors = [actor.get_pose() for actor in scene.get_all_actors() if actor.get_name() not in _SCENERY]
    arms = (robot.left_entity, robot.right_entity)
    hinged = [found for found in scene.get_all_articulations() if all(found is not arm for arm in arms)]
    return actors + [found.get_root_pose() for found in hinged]
