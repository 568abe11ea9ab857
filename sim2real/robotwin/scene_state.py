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
# As in the other worlds: one unit is 0.2 m, from the middle of the table top: values of order one.
LENGTH_SCALE = 5.0
ORIGIN_M = np.array([0.0, 0.0, 0.74])
REACH_M = 1.0  # an object farther from there, on any axis, counts as this far: it is out of play
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

    Measured joints, both hands' centres (position [0.2 m] and quaternion w x y z), positions of two objects
    [0.2 m], their quaternions, and the share of the steps that is used up. Positions count from the middle of
    the table top. A scene with one object has zeros for the other.
    """
    robot = task_env.robot
    hands = np.array([getattr(robot, f"get_{side}_tcp_pose")() for side in SIDES], np.float64)
    hands[:, :3] = (hands[:, :3] - ORIGIN_M) * LENGTH_SCALE
    poses = _object_poses(task_env.scene, robot)
    positions, rotations = np.zeros((OBJECTS, 3)), np.zeros((OBJECTS, 4))
    for index, pose in enumerate(poses[:OBJECTS]):
        offset = np.clip(pose.p - ORIGIN_M, -REACH_M, REACH_M)
        positions[index], rotations[index] = offset * LENGTH_SCALE, pose.q
    parts = [
        measured_joints(robot),
        hands.ravel(),
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
