"""What training asks of a simulated world, whichever simulator makes it.

A `World` is a small value that travels to worker processes; each opens its own `Simulation`, in which one
episode after the other is run. The cell's is `sim2real.cell.world`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.action_space import ActionLayout, ActionSpace


class Simulation(Protocol):
    """One simulator with its renderer. (task, seed) fixes an episode's scene, whatever ran before."""

    @property
    def instruction(self) -> str:
        """What is said in this episode."""

    @property
    def step_count(self) -> int:
        """Control steps made in this episode."""

    @property
    def step_limit(self) -> int:
        """Control steps after which this episode has failed."""

    @property
    def succeeded(self) -> bool:
        """Whether the task has been done in this episode."""

    def reset(self, task: str, seed: int, *, companion: str | None = None) -> None:
        """Begin an episode."""

    def images(self) -> NDArray[np.uint8]:
        """Return RGB of the cameras, shape (V, H, W, 3)."""

    def proprio(self) -> NDArray[np.float32]:
        """Return proprioception, shape (P,)."""

    def privileged_state(self) -> NDArray[np.float32]:
        """Return what critics see of the simulator's state, shape (S,)."""

    def step(self, action: NDArray[np.float32]) -> bool:
        """Execute an action in the robot's units, shape (A,); return whether the task is done."""

    def close(self) -> None:
        """Free renderer and processes."""


class ChunkFeatures(Protocol):
    """Shows critics where a chunk would take the hands; differentiable in the chunk."""

    size: int

    def __call__(self, privileged: Tensor, chunk: Tensor) -> Tensor:
        """Return features (B, size) of the simulator's state (B, S) and a normalised chunk (B, h, A)."""


class World(Protocol):
    """A simulator with its tasks; equal values make equal episodes."""

    @property
    def name(self) -> str:
        """Name of the world, for messages."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task, in the order of the task ids."""

    @property
    def layout(self) -> ActionLayout:
        """What the actions are."""

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names of the A actions: recorded demonstrations must have the same."""

    @property
    def proprio_names(self) -> tuple[str, ...]:
        """Names of the P proprioception values, likewise."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras; a policy sees the first of them, or all."""

    @property
    def control_rate_hz(self) -> float:
        """Control steps a second [Hz]."""

    @property
    def privileged_size(self) -> int:
        """Size S of the privileged state."""

    @property
    def object_positions(self) -> slice:
        """Where the positions of the task's two objects, six numbers, stand in the privileged state.

        They are in units of 0.2 m, counted from the middle of the workspace.
        """

    def open(self, *, image_size: int, cameras: int) -> Simulation:
        """Return a simulation whose first cameras are rendered, `image_size` px high and wide."""

    def chunk_features(self, space: ActionSpace, chunk: int) -> ChunkFeatures | None:
        """Return what critics are shown of a chunk of this length, None where the world has nothing."""
