"""The simulated work cell: reset, step, look, and what is true of the state.

One control step is 40 ms (25 Hz), ten physics steps. The whole episode follows from (task, seed, companion,
randomisation configuration), bit for bit, whatever the object ran before: every field of the model that an
episode may change is restored, and random numbers come from streams of the seed. Knows no policy, no reward
and no expert.
"""

from __future__ import annotations

import zlib
from collections import deque
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import UserError
from dygro_ros.layout import (
    ACTION_SIZE,
    ARM_INDICES,
    CONTROL_RATE_HZ,
    GRIPPER_INDICES,
    JOINT_LOWER,
    JOINT_NAMES,
    JOINT_UPPER,
    SIDES,
)
from sim2real.cell.arms import home_joints
from sim2real.cell.clutter import place_clutter
from sim2real.cell.compiled_scene import CompiledScene
from sim2real.cell.instructions import sample_instruction
from sim2real.cell.privileged import PRIVILEGED_SIZE, PRIVILEGED_SLICES, privileged_vector
from sim2real.cell.randomization import CLEAN, RandomizationConfig, RandomizationDraw, draw_randomization
from sim2real.cell.rendering import CellRenderer
from sim2real.cell.scene import FIXED_OBJECTS, TASK_OBJECTS, TIMESTEP_S, show_clutter
from sim2real.cell.tasks import (
    STEP_LIMITS,
    TASKS,
    Layout,
    check_task,
    goal_positions,
    hammer_head,
    instruction_details,
    is_success,
    keep_clear,
    rest_height,
    sample_layout,
)

__all__ = ["CAMERA_NAMES", "PRIVILEGED_SIZE", "PRIVILEGED_SLICES", "TASKS", "WorkCell"]

CAMERA_NAMES = ("head_camera", "left_camera", "right_camera")
PHYSICS_STEPS = round(1.0 / (CONTROL_RATE_HZ * TIMESTEP_S))
HOME = np.concatenate([(*home_joints(side), 1.0) for side in SIDES])
HOME.setflags(write=False)

# Targets move no faster than this, as a drive's own limits would have it: [rad/s], fraction of the stroke/s.
ARM_SPEED_LIMIT_RAD_S = 5.0
GRIPPER_SPEED_LIMIT_S = 3.5

_ARMS = list(ARM_INDICES)
_LARGEST_CHANGE = np.full(ACTION_SIZE, ARM_SPEED_LIMIT_RAD_S / CONTROL_RATE_HZ)
_LARGEST_CHANGE[list(GRIPPER_INDICES)] = GRIPPER_SPEED_LIMIT_S / CONTROL_RATE_HZ
# One independent stream of random numbers each, so that none shifts another.
_STREAMS = ("layout", "randomization", "instruction", "noise")


class WorkCell:
    """Two arms at a table, one task at a time."""

    task: str
    companion: str | None
    instruction: str
    step_count: int
    step_limit: int
    succeeded: bool
    draw: RandomizationDraw
    layout: Layout
    table_z: float

    def __init__(
        self,
        randomization: RandomizationConfig | None = None,
        *,
        image_size: int = 128,
        wrist_cameras: bool = False,
        instruction_split: str = "seen",
    ) -> None:
        """Prepare a cell; `reset` starts an episode.

        Args:
            randomization: What varies between episodes; nothing (`CLEAN`) by default.
            image_size: Height and width of the pictures [px].
            wrist_cameras: Also render the two wrist cameras.
            instruction_split: "seen" or "unseen" instruction templates.
        """
        if image_size < 1:
            raise UserError(f"image_size must be 1 or more, got {image_size}")
        self.randomization = CLEAN if randomization is None else randomization
        self.image_size = image_size
        self.cameras = CAMERA_NAMES if wrist_cameras else CAMERA_NAMES[:1]
        self._split = instruction_split
        self._scenes: dict[tuple[str, ...], CompiledScene] = {}
        self._scene: CompiledScene | None = None
        self._renderer: CellRenderer | None = None

    def reset(self, task: str, seed: int, *, companion: str | None = None) -> None:
        """Start the episode (task, seed); with `companion`, that task's objects share the table.

        The same seed with task and companion exchanged gives the same scene and another instruction.

        Raises:
            UserError: Unknown task, a pair that cannot share a scene, a negative seed, or an unknown split of
                instructions.
        """
        check_task(task, companion)
        if seed < 0:
            raise UserError(f"seed must be 0 or more, got {seed}")
        present = tuple(sorted({task, companion or task}))
        rngs = {
            stream: np.random.default_rng([seed, zlib.crc32("+".join(present).encode()), index])
            for index, stream in enumerate(_STREAMS)
        }
        self.task, self.companion = task, companion
        self.step_count, self.step_limit, self.succeeded = 0, STEP_LIMITS[task], False
        self.layout = sample_layout(task, rngs["layout"], companion)
        self.draw = draw_randomization(self.randomization, rngs["randomization"])
        details = instruction_details(task, self.layout)
        self.instruction = sample_instruction(task, self._split, rngs["instruction"], details)
        self._noise_rng = rngs["noise"]

        scene = self._scene = self._compiled(present)
        scene.restart(self.draw)
        self.table_z = scene.table_z
        if self.randomization.cluttered_table:
            circles = [circle for name in present for circle in keep_clear(name, self.layout)]
            placements = place_clutter(rngs["randomization"], circles, self.draw.clutter_count)
            show_clutter(scene.model, placements, self.table_z)
        scene.place_arms(HOME)
        for body, placed in self.layout.items():
            scene.place_object(body, (placed.x, placed.y, self.table_z + rest_height(body)), placed.yaw)
        self._driven = 0
        self._held_noise = np.zeros(ACTION_SIZE)
        self._commanded = HOME.astype(np.float32)
        self._reference = HOME.copy()
        self._pending: deque[NDArray[np.float64]] = deque([HOME] * self.draw.latency_steps)
        mujoco.mj_forward(scene.model, scene.data)

    def _compiled(self, present: tuple[str, ...]) -> CompiledScene:
        if present not in self._scenes:
            self._scenes[present] = CompiledScene(
                present,
                clutter=self.randomization.cluttered_table,
                wrist_cameras=len(self.cameras) > 1,
                image_size=self.image_size,
            )
        return self._scenes[present]

    @property
    def _current(self) -> CompiledScene:
        if self._scene is None:
            raise UserError("the work cell has no episode yet: call reset(task, seed) first")
        return self._scene

    @property
    def model(self) -> mujoco.MjModel:
        """The compiled scene of this episode."""
        return self._current.model

    @property
    def data(self) -> mujoco.MjData:
        """The physics state of this episode."""
        return self._current.data

    def step(self, action: NDArray[Any]) -> bool:
        """Advance one control period (40 ms) and return whether the task has succeeded by now.

        Args:
            action: Absolute drive targets, shape (14,); clipped to the joints' limits, followed no faster
                than the drives' speed limits.

        Raises:
            UserError: Wrong shape, or a value that is not finite.
        """
        self._command(action)
        self._pending.append(self._commanded.astype(np.float64))
        target = self._pending.popleft()
        if self.draw.action_noise_std > 0.0:
            target = np.clip(target + self._action_noise(), JOINT_LOWER, JOINT_UPPER)
        self._move(target, PHYSICS_STEPS)
        self._finish_step()
        return self.succeeded

    def drive(self, action: NDArray[Any], physics_steps: int) -> bool:
        """Advance by less than a control period, for a robot that is commanded faster than the policy acts.

        The randomisation's latency is left to the caller, who has a clock; its action noise changes once a
        control period, as in `step`. Do not mix with `step` in one episode.

        Args:
            action: Absolute drive targets, as `step` takes them.
            physics_steps: 1 to 10 steps of 4 ms; periods must be a multiple of it.

        Raises:
            UserError: As `step`, or a number of physics steps that does not divide a control period.
        """
        if physics_steps < 1 or PHYSICS_STEPS % physics_steps:
            raise UserError(f"physics_steps must divide {PHYSICS_STEPS}, got {physics_steps}")
        self._command(action)
        target = self._commanded.astype(np.float64)
        if self.draw.action_noise_std > 0.0:
            if self._driven == 0:
                self._held_noise = self._action_noise()
            target = np.clip(target + self._held_noise, JOINT_LOWER, JOINT_UPPER)
        self._move(target, physics_steps)
        self._driven = (self._driven + physics_steps) % PHYSICS_STEPS
        if self._driven == 0:
            self._finish_step()
        return self.succeeded

    def _command(self, action: NDArray[Any]) -> None:
        _ = self._current
        action = np.asarray(action, dtype=np.float32)
        if action.shape != (ACTION_SIZE,):
            raise UserError(f"action must have shape ({ACTION_SIZE},), got {action.shape}")
        if not np.isfinite(action).all():
            bad = JOINT_NAMES[int(np.flatnonzero(~np.isfinite(action))[0])]
            raise UserError(f"action must be finite, got {action[JOINT_NAMES.index(bad)]} for {bad}")
        self._commanded = np.clip(action, JOINT_LOWER, JOINT_UPPER)

    def _action_noise(self) -> NDArray[np.float64]:
        noise = np.zeros(ACTION_SIZE)
        noise[_ARMS] = self._noise_rng.normal(0.0, self.draw.action_noise_std, len(_ARMS))
        return noise

    def _move(self, target: NDArray[np.float64], physics_steps: int) -> None:
        change = _LARGEST_CHANGE * (physics_steps / PHYSICS_STEPS)
        self._reference += np.clip(target - self._reference, -change, change)
        self._current.drive(self._reference)
        self._current.advance(physics_steps)

    def _finish_step(self) -> None:
        self.step_count += 1
        if not self.succeeded:
            self.succeeded = is_success(self.task, self)

    def proprio(self) -> NDArray[np.float32]:
        """Return the measured joints, shape (14,): arms [rad], grippers 0 closed .. 1 open."""
        return self._current.measured().astype(np.float32)

    def gripper_openings(self) -> NDArray[np.float64]:
        """Return the measured openings (left, right), 0 closed .. 1 open: the mean of both fingers."""
        return self._current.openings()

    def drive_targets(self) -> NDArray[np.float32]:
        """Return the last commanded targets, clipped to the limits, shape (14,)."""
        return self._commanded.copy()

    def images(self) -> NDArray[np.uint8]:
        """Render every camera now: RGB, shape (V, H, W, 3).

        Raises:
            DependencyError: OpenGL cannot be used on this machine.
        """
        scene = self._current
        if self._renderer is None:
            self._renderer = CellRenderer(self.image_size)
        mujoco.mj_camlight(scene.model, scene.data)
        return self._renderer.render(scene.model, scene.data, self.cameras)

    def observe(self, images: bool = True) -> dict[str, Any]:
        """Return the observation under RoboTwin 2.0's keys, and measured joints under `joint_state`.

        Args:
            images: Also render the cameras (`observation.<camera>.rgb`).
        """
        rendered = list(self.images()) if images else []
        targets = self.drive_targets()
        return {
            "observation": {
                name: {"rgb": image} for name, image in zip(self.cameras, rendered, strict=bool(images))
            },
            "joint_action": {
                "left_arm": targets[:6],
                "left_gripper": targets[6],
                "right_arm": targets[7:13],
                "right_gripper": targets[13],
                "vector": targets,
            },
            "joint_state": {"vector": self.proprio()},
            "endpose": {f"{side}_endpose": self.endpose(side) for side in SIDES},
        }

    def endpose(self, side: str) -> NDArray[np.float32]:
        """Return a gripper's TCP: position [m] and quaternion (w, x, y, z), shape (7,)."""
        scene = self._current
        site = scene.tcp_sites[SIDES.index(side)]
        quaternion = np.zeros(4)
        mujoco.mju_mat2Quat(quaternion, scene.data.site_xmat[site])
        return np.concatenate([scene.data.site_xpos[site], quaternion]).astype(np.float32)

    def position(self, body: str) -> NDArray[np.float64]:
        """Return an object's origin [m], shape (3,)."""
        scene = self._current
        return np.array(scene.data.xpos[scene.bodies[body]])

    def rotation(self, body: str) -> NDArray[np.float64]:
        """Return an object's axes as columns, shape (3, 3)."""
        scene = self._current
        return np.array(scene.data.xmat[scene.bodies[body]].reshape(3, 3))

    def touching(self, geom: str, other: str) -> bool:
        """Return whether two named geoms are in contact."""
        return self._current.touching(geom, other)

    def finger_contacts(self) -> NDArray[np.bool_]:
        """Return whether a finger of gripper i touches the task's object j, shape (2, 2)."""
        return self._current.finger_contacts(TASK_OBJECTS[self.task])

    def privileged_state(self) -> NDArray[np.float32]:
        """Return the simulator's state for critics, shape (PRIVILEGED_SIZE,); see `PRIVILEGED_SLICES`."""
        scene = self._current
        first, second = TASK_OBJECTS[self.task]
        sites = scene.tcp_sites
        positions = np.stack([self.position(first), self.position(second)])
        if self.task == "beat_block_hammer":
            positions[0] = hammer_head(self)
        return privileged_vector(
            joints=self.proprio(),
            gripper_positions=scene.data.site_xpos[sites],
            gripper_rotations=scene.data.site_xmat[sites].reshape(2, 3, 3),
            object_positions=positions,
            object_rotations=np.stack([self.rotation(first), self.rotation(second)]),
            goals=goal_positions(self.task, self),
            has_goal=np.array([True, second not in FIXED_OBJECTS]),
            contacts=self.finger_contacts(),
            time_fraction=self.step_count / self.step_limit,
            task=self.task,
        )

    def close(self) -> None:
        """Release the renderer; the next picture opens a new one."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
