"""LIBERO as a world to train in: its tasks, the steps of its hand, and episodes by seed.

The seeds of evaluations are LIBERO's fixed initial states: episode i of evaluation seed 0 begins from state
i. All other seeds begin from states that are drawn as LIBERO drew those.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dygro_ros.errors import UserError
from models.action_space import ActionLayout, ActionSpace
from sim2real.libero.environment import LiberoEnvironment
from sim2real.libero.installation import installed
from sim2real.libero.interface import CONTROL_RATE_HZ
from sim2real.libero.scene_state import LENGTH_SCALE, PRIVILEGED_SIZE, PRIVILEGED_SLICES, TASK_OBJECTS
from sim2real.libero.tasks import EVALUATION_STATES
from sim2real.seeds import SEED_BLOCKS, SeedPurpose, purpose_of

ACTION_NAMES = (*(f"delta_{axis}" for axis in ("x", "y", "z", "rx", "ry", "rz")), "gripper")
"""OSC_POSE: steps of the hand's pose in parts of 0.05 m and 0.5 rad; gripper -1 open, 1 closed."""
PROPRIO_NAMES = (
    *(f"ee_{axis}" for axis in ("x", "y", "z", "rx", "ry", "rz")),
    "gripper_left",
    "gripper_right",
)
"""The hand's position [m] and rotation vector [rad], and its two fingers [m]."""
HAND_STEPS = ActionLayout(lower=(-1.0,) * 7, upper=(1.0,) * 7, grippers=(6,))
STEP_M = 0.011
"""How far the hand goes in one control step of a translation of 1: the controller is asked for 0.05 m beyond
where the hand is, and gets about a fifth of the way before it is asked anew. Measured: eight such steps make
79 mm along x, 94 along y, 93 along z, and smaller ones in proportion."""
SCALES_M = (0.01, 0.03, 0.1)


@dataclass(frozen=True)
class LiberoWorld:
    """Some of LIBERO's tasks; see `sim2real.world.World`."""

    tasks: tuple[str, ...]
    """Names of tasks, "suite/name" or the name alone; their order gives the ids."""
    folder: Path | None = None
    """Installation; None takes `environments/libero`, or what DYGRO_LIBERO names."""

    name = "libero"
    layout = HAND_STEPS
    action_names = ACTION_NAMES
    proprio_names = PROPRIO_NAMES
    privileged_size = PRIVILEGED_SIZE
    object_positions = PRIVILEGED_SLICES["object_positions"]
    cameras = ("agentview", "eye_in_hand")
    control_rate_hz = CONTROL_RATE_HZ

    def open(self, *, image_size: int, cameras: int) -> LiberoEpisodes:
        """Return episodes of these tasks, with the first or both cameras.

        Raises:
            DependencyError: LIBERO is not installed, or in other versions.
        """
        environment = LiberoEnvironment(
            installed(self.folder), image_size=image_size, max_processes=max(4, len(self.tasks))
        )
        return LiberoEpisodes(environment, cameras)

    def chunk_features(self, space: ActionSpace, chunk: int) -> HandPath:
        """Return where the chunk would take the hand."""
        return HandPath(space.scale, chunk)


class LiberoEpisodes:
    """A LIBERO environment whose episodes are chosen by seed; see `sim2real.world.Simulation`."""

    def __init__(self, environment: LiberoEnvironment, cameras: int) -> None:
        """Take an environment over; `close` ends it."""
        self._environment = environment
        self._cameras = cameras

    @property
    def instruction(self) -> str:
        """What the robot is told."""
        return self._environment.instruction

    @property
    def step_count(self) -> int:
        """Control steps made in this episode."""
        return self._environment.step_count

    @property
    def step_limit(self) -> int:
        """Control steps after which the episode has failed."""
        return self._environment.step_limit

    @property
    def succeeded(self) -> bool:
        """Whether the task has been done."""
        return self._environment.succeeded

    def reset(self, task: str, seed: int, *, companion: str | None = None) -> None:
        """Begin an episode: an evaluation seed from a fixed state, any other from a drawn one.

        Raises:
            UserError: A companion, which LIBERO's scenes have no place for, or an evaluation seed beyond the
                fixed states.
        """
        if companion is not None:
            raise UserError(f"LIBERO's scenes hold what they hold: no companion, got {companion!r}")
        if purpose_of(seed) is not SeedPurpose.EVALUATION:
            self._environment.reset(task, seed=seed)
            return
        state = seed - SEED_BLOCKS[SeedPurpose.EVALUATION].first
        if state >= EVALUATION_STATES:
            raise UserError(
                f"LIBERO has {EVALUATION_STATES} fixed initial states a task: --evaluation.episodes may be "
                f"{EVALUATION_STATES} at most and --evaluation.seed must be 0, got state {state}"
            )
        self._environment.reset(task, state_index=state)

    def images(self) -> NDArray[np.uint8]:
        """Return what the cameras see, shape (V, H, W, 3)."""
        return self._environment.images()[: self._cameras]

    def proprio(self) -> NDArray[np.float32]:
        """Return hand pose and fingers, shape (8,)."""
        return self._environment.proprio()

    def privileged_state(self) -> NDArray[np.float32]:
        """Return what critics may see, shape (PRIVILEGED_SIZE,)."""
        return self._environment.privileged_state()

    def step(self, action: NDArray[np.float32]) -> bool:
        """Advance one control step of 50 ms; return whether the task has been done."""
        return self._environment.step(action)

    def close(self) -> None:
        """End the environment's processes."""
        self._environment.close()


class HandPath(nn.Module):
    """Features of a chunk: where its steps would take the hand, seen from the task's objects, (B, `size`).

    As in the cell's `HandGeometry`, offsets are shown at several scales: a critic that sees coordinates alone
    cannot tell what a residual of a few millimetres changes. The hand is taken to go as far as it does in
    free air (`STEP_M`).
    """

    scale: Tensor

    def __init__(self, scale: Tensor, chunk: int) -> None:
        """Prepare.

        Args:
            scale: Normalised 1.0 in the controller's units, (7,): `ActionSpace.scale`.
            chunk: h.
        """
        super().__init__()
        self.register_buffer("scale", scale.clone())
        self.steps = ((chunk - 1) // 2, chunk - 1)
        moments = 1 + len(self.steps)
        self.size = len(SCALES_M) * 3 * TASK_OBJECTS * moments + 6 * len(self.steps) + chunk

    def forward(self, privileged: Tensor, chunk: Tensor) -> Tensor:
        """Return the features, in single precision whatever the autocast.

        Args:
            privileged: Simulator state, (B, S) as in `PRIVILEGED_SLICES`.
            chunk: Normalised chunk, (B, h, 7).
        """
        with torch.autocast(privileged.device.type, enabled=False):
            return self._features(privileged.float(), chunk.float())

    def _features(self, privileged: Tensor, chunk: Tensor) -> Tensor:
        to_objects = privileged[:, PRIVILEGED_SLICES["hand_to_object"]] / LENGTH_SCALE
        steps = (chunk * self.scale).clamp(-1.0, 1.0)
        path = steps[..., :6].cumsum(dim=1)
        offsets = [to_objects]
        for step in self.steps:
            offsets.append(to_objects - (path[:, step, :3] * STEP_M).repeat(1, TASK_OBJECTS))
        shown = [torch.tanh(offset / scale) for offset in offsets for scale in SCALES_M]
        travelled = [path[:, step] / (step + 1) for step in self.steps]
        return torch.cat([*shown, *travelled, steps[..., 6]], dim=-1)
