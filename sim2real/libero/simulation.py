"""One LIBERO task, simulated; runs in LIBERO's interpreter.

Physics, controller, objects and success checks are LIBERO's and robosuite's own. What differs: observations
that nobody asked for are not computed, the model is built once and not at every reset, and a physics step
computes positions once and not three times, as robosuite 1.5 does by default (`lite_physics`).
"""

from __future__ import annotations

from collections import OrderedDict
from copy import deepcopy
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import UserError
from sim2real.libero.arm_control import ArmControl
from sim2real.libero.interface import ACTION_SIZE, CONTROL_RATE_HZ

SETTLING_STEPS = 10  # an initial state's objects hang a little above the table; as OpenVLA and openpi
_SETTLING_ACTION = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
_JOINT_NOISE_RAD = 0.02  # standard deviation of the arm's joints in the fixed states; robosuite's default
_EVALUATION, _SAMPLED = 0, 1
_MOST_DRAWS = 100


class LiberoSimulation:
    """Runs episodes of one task; the same episode, bit for bit, whatever ran before it."""

    def __init__(self, task_file: Path, states: Path) -> None:
        """Build the model.

        Args:
            task_file: LIBERO's description of the task (.bddl).
            states: The task's fixed initial states (.npy).
        """
        import robosuite
        from libero.libero.envs import TASK_MAPPING
        from libero.libero.envs.bddl_utils import get_problem_info
        from robosuite.utils.errors import RandomizationError

        self._cannot_place = RandomizationError
        self._states = np.load(states, allow_pickle=False)
        np.random.seed(0)  # robosuite draws from numpy's own generator
        self._problem = get_problem_info(str(task_file))
        self._controller = robosuite.load_controller_config(default_controller="OSC_POSE")
        self._env = TASK_MAPPING[self._problem["problem_name"]](
            str(task_file),
            robots=["Panda"],
            controller_configs=deepcopy(self._controller),
            gripper_types="default",
            initialization_noise=None,
            use_camera_obs=False,
            has_renderer=False,
            has_offscreen_renderer=True,
            control_freq=CONTROL_RATE_HZ,
            ignore_done=True,
            hard_reset=False,
        )
        self._env._observables = OrderedDict()
        self._env.reset()
        self._model, self._data = self.sim.model._model, self.sim.data._data
        if self._model.opt.integrator != mujoco.mjtIntegrator.mjINT_EULER:
            raise RuntimeError("mj_step1 and mj_step2 are a step of the Euler integrator alone")
        self._substeps = int(self._env.control_timestep / self._env.model_timestep)
        self._arm = list(self._robot._ref_joint_pos_indexes)
        self._control = ArmControl(self.sim, self._robot)
        self._name_parts()

    @property
    def sim(self) -> Any:
        """Robosuite's `MjSim`."""
        return self._env.sim

    @property
    def _robot(self) -> Any:
        return self._env.robots[0]

    def _name_parts(self) -> None:
        """Find the bodies, joints and regions that an observation holds."""
        model, objects = self._model, [*self._env.objects_dict, *self._env.fixtures_dict]
        roots = {self._env.obj_body_id[name] for name in objects}
        self._bodies = [i for i in range(model.nbody) if roots & set(self._ancestors(i))]
        of_objects = [i for i in range(model.njnt) if model.jnt_bodyid[i] in self._bodies]
        self._joints = [i for i in of_objects if model.jnt_type[i] != mujoco.mjtJoint.mjJNT_FREE]
        self._regions = [model.site(name).id for name in self._env.object_sites_dict]
        self._hand = model.body(self._robot.robot_model.eef_name).id

    def _ancestors(self, body: int) -> list[int]:
        found = [body]
        while found[-1]:
            found.append(int(self._model.body_parentid[found[-1]]))
        return found

    def describe(self) -> dict[str, Any]:
        """Return the names that go with an observation's rows."""
        model = self._model
        return {
            "objects": [*self._env.objects_dict, *self._env.fixtures_dict],
            "bodies": [model.body(i).name for i in self._bodies],
            "joints": [model.joint(i).name for i in self._joints],
            "joint_bodies": [model.body(model.jnt_bodyid[i]).name for i in self._joints],
            "regions": [model.site(i).name for i in self._regions],
            "origin": list(map(float, self._env.workspace_offset)),
        }

    def origin(self) -> dict[str, Any]:
        """Return what LIBERO's files of demonstrations say of their environment, in LIBERO's words."""
        return {
            "env_name": type(self._env).__name__,
            "problem_name": self._problem["problem_name"],
            "domain_name": self._problem["domain_name"],
            "controller_configs": self._controller,
        }

    def model(self) -> dict[str, Any]:
        """Return the episode's model as MJCF in UTF-8: where the fixtures stand is in it, not in a state."""
        return {"model": np.frombuffer(self.sim.model.get_xml().encode(), dtype=np.uint8)}

    def state(self) -> dict[str, Any]:
        """Return what `set_state_from_flattened` sets back to: time [s], positions, velocities."""
        return {"state": self.sim.get_state().flatten()}

    def reset(self, state: int | None = None, seed: int | None = None) -> dict[str, Any]:
        """Begin an episode and return the first observation (`observe`).

        A drawn state in which the task is done already is drawn again: the seed alone decides what comes.

        Args:
            state: Index of a fixed initial state, or
            seed: seed of an initial state drawn as LIBERO drew the fixed ones.

        Raises:
            UserError: Not exactly one is given, the index is none, or the task is done in whatever is drawn.
        """
        if (state is None) == (seed is None):
            raise UserError(f"a LIBERO episode begins from a state or a seed, got state {state}, seed {seed}")
        if state is not None and not 0 <= state < len(self._states):
            raise UserError(f"fixed initial states are 0 to {len(self._states) - 1}, got {state}")
        if seed is not None and not 0 <= seed < 2**63:
            raise UserError(f"a seed must be 0 or more and below 2**63, got {seed}")
        if seed is None:
            self._begin([_EVALUATION, state], state)
            return self.observe()
        for draw in range(_MOST_DRAWS):
            self._begin([_SAMPLED, seed % 2**32, seed // 2**32, *([draw] if draw else [])], None)
            observation = self.observe()
            if not observation["success"]:
                return observation
        raise UserError(f"the task is done already in all of {_MOST_DRAWS} states drawn from seed {seed}")

    def _begin(self, entropy: list[Any], state: int | None) -> None:
        """Place everything and let it settle; without a fixed state the arm's joints are drawn too."""
        self._place(entropy)
        if state is not None:
            start = self._states[state]
        else:
            start = self.sim.get_state().flatten()
            # The flattened state begins with the time.
            noise = np.random.default_rng(entropy).normal(0.0, _JOINT_NOISE_RAD, len(self._arm))
            start[1 + np.array(self._arm)] += noise
        self.sim.set_state_from_flattened(start)
        self.sim.forward()
        self._env._post_process()
        for _ in range(SETTLING_STEPS):
            self.step(_SETTLING_ACTION)

    def _place(self, entropy: list[Any]) -> None:
        """Reset what an earlier episode changed, and place everything, also what a state does not hold.

        Where the fixtures stand is part of the model, not of a state: LIBERO draws it at every reset.
        """
        np.random.seed(entropy)
        while True:
            try:
                self._env.reset()
            except self._cannot_place:
                continue
            break
        self._control.begin()

    def step(self, action: NDArray[np.floating]) -> dict[str, Any]:
        """Advance one control step of 50 ms and return the observation.

        Args:
            action: Translation and rotation of the hand in parts of 0.05 m and 0.5 rad (-1..1 each), then the
                gripper: below 0 opens, above 0 closes; shape (7,).
        """
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (ACTION_SIZE,) or not np.isfinite(action).all():
            raise UserError(f"a LIBERO action must be {ACTION_SIZE} finite numbers, got {action}")
        for index in range(self._substeps):
            mujoco.mj_step1(self._model, self._data)
            self._control.apply(action, first=index == 0)
            mujoco.mj_step2(self._model, self._data)
        observation = self.observe()
        self._env._post_process()
        return observation

    def observe(self) -> dict[str, Any]:
        """Return success and the simulator's state.

        `hand` (9,): position [m] and quaternion (w, x, y, z) of the hand, positions of the fingers [m];
        `arm` (7,): joints [rad];
        `bodies` (B, 7): positions and quaternions; `joints` (J,) [rad or m]; `regions` (R, 3): positions [m].
        """
        data = self._data
        fingers = data.qpos[self._robot._ref_gripper_joint_pos_indexes]
        between_fingertips = data.site_xpos[self._robot.eef_site_id]
        return {
            "success": bool(self._env._check_success()),
            "hand": np.concatenate([between_fingertips, data.xquat[self._hand], fingers]),
            "arm": data.qpos[self._arm],
            "bodies": np.concatenate([data.xpos[self._bodies], data.xquat[self._bodies]], axis=1),
            "joints": data.qpos[self._model.jnt_qposadr[self._joints]],
            "regions": data.site_xpos[self._regions],
        }
