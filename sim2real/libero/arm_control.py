"""robosuite's arm and gripper control of one substep, without its detours; runs in LIBERO's interpreter.

The operational space controller and the gripper's law are robosuite's own and give the same torques to the
last bit. What is left out computed the same thing several times, looked names up, or kept histories that
nobody reads: two thirds of the time of a control step.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray


class ArmControl:
    """Controls the Panda of one simulation; the physics' positions and velocities must be up to date."""

    def __init__(self, sim: Any, robot: Any) -> None:
        """Look up what does not change.

        Args:
            sim: robosuite's `MjSim`.
            robot: robosuite's robot in it.
        """
        self._model, self._data = sim.model._model, sim.data._data
        self._robot = robot
        self._site = self._model.site(robot.controller.eef_name).id
        self._qpos, self._qvel = robot.controller.qpos_index, robot.controller.qvel_index
        self._low, self._high = robot.torque_limits
        self._actuators = robot._ref_joint_actuator_indexes
        self._fingers = robot._ref_joint_gripper_actuator_indexes
        limits = self._model.actuator_ctrlrange[self._fingers]
        self._middle = 0.5 * (limits[:, 1] + limits[:, 0])
        self._half_range = 0.5 * (limits[:, 1] - limits[:, 0])
        self._jacobian = np.zeros((6, self._model.nv))
        self._masses = np.zeros((self._model.nv, self._model.nv))

    def begin(self) -> None:
        """Take over the controller that robosuite has just made for an episode, and open the gripper's law.

        Kept over a reset by robosuite, the gripper's last command would begin the next episode.
        """
        self._robot.gripper.current_action = np.zeros(self._robot.gripper.dof)
        # The controller calls its own update: this is the one place to step in without copying it.
        self._robot.controller.update = self._update

    def apply(self, action: NDArray[np.float64], first: bool) -> None:
        """Set the controls of one substep, as `robot.control(action, policy_step=first)` does.

        Args:
            action: Shape (7,).
            first: Whether this is the first substep of a control step, which sets the controller's goal.
        """
        controller, gripper = self._robot.controller, self._robot.gripper
        if first:
            controller.set_goal(action[:6])
        torques = controller.run_controller()
        self._data.ctrl[self._fingers] = self._middle + self._half_range * gripper.format_action(action[6:])
        self._data.ctrl[self._actuators] = np.clip(torques, self._low, self._high)

    def _update(self, force: bool = False) -> None:
        """Do what `Controller.update` does, with one Jacobian and no second forward computation."""
        controller, data = self._robot.controller, self._data
        if not (controller.new_update or force):
            return
        position, rotation = self._jacobian[:3], self._jacobian[3:]
        mujoco.mj_jacSite(self._model, data, position, rotation, self._site)
        controller.ee_pos = np.array(data.site_xpos[self._site])
        controller.ee_ori_mat = np.array(data.site_xmat[self._site].reshape(3, 3))
        controller.ee_pos_vel = np.dot(position, data.qvel)
        controller.ee_ori_vel = np.dot(rotation, data.qvel)
        controller.joint_pos = np.array(data.qpos[self._qpos])
        controller.joint_vel = np.array(data.qvel[self._qvel])
        controller.J_pos = np.array(position[:, self._qvel])
        controller.J_ori = np.array(rotation[:, self._qvel])
        controller.J_full = np.vstack([controller.J_pos, controller.J_ori])
        mujoco.mj_fullM(self._model, self._masses, data.qM)
        controller.mass_matrix = self._masses[self._qvel, :][:, self._qvel]
        controller.new_update = False
