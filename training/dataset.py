"""Frames and chunks for Stage I: demonstrations in memory, and a sampler whose whole state is two numbers.

A sample is one frame: images, instruction bytes, measured joints, and the chunk of h drive targets that
starts there. A chunk that runs past the end of its episode repeats the last target, with a mask that leaves
the repeats out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dygro_ros.errors import DataError
from dygro_ros.instruction_codec import BYTES, Encoded, InstructionCodec
from models.action_space import ActionSpace
from sim2real.cell.world import CellWorld
from sim2real.world import World
from training.episode_file import read_episode
from training.measured_space import measure_space

CELL = CellWorld()


class Recording(Protocol):
    """What the dataset needs of a demonstration; `training.episode_file.EpisodeRecord` is one."""

    @property
    def instructions(self) -> tuple[str, ...]:
        """What may be said for this episode; at least one text."""

    @property
    def images(self) -> NDArray[np.uint8]:
        """RGB, shape (T, V, H, W, 3)."""

    @property
    def proprio(self) -> NDArray[np.float32]:
        """Proprioception, shape (T, P)."""

    @property
    def action(self) -> NDArray[np.float32]:
        """Actions, shape (T, A)."""

    @property
    def privileged(self) -> NDArray[np.float32] | None:
        """Simulator state, shape (T, S); None in data that does not come from our simulator."""


class Batch(NamedTuple):
    """One batch of frames.

    Attributes:
        images: Shape (B, V, H, W, 3), uint8.
        instruction: As the policy reads it, shape (B, L): bytes (uint8) or tokens (int32).
        proprio: Proprioception, shape (B, P).
        chunk: Actions in the robot's units, shape (B, h, A).
        mask: 1 where the chunk's step lies inside the episode, shape (B, h).
        objects: Positions of the task's two objects in units of 0.2 m, shape (B, 6); None unless every
            demonstration holds simulator state.
    """

    images: Tensor
    instruction: Tensor
    proprio: Tensor
    chunk: Tensor
    mask: Tensor
    objects: Tensor | None


@dataclass(frozen=True)
class SamplerState:
    """Where the sampler stands: enough to go on exactly.

    Attributes:
        epoch: Passes over the data that are finished.
        position: Frames already drawn in this pass.
    """

    epoch: int = 0
    position: int = 0


class FrameDataset:
    """All frames of all demonstrations in memory (49 kB a 128 px frame), read-only.

    Args:
        recordings: Demonstrations, consumed one at a time.
        horizon: Chunk length h.
        world: Where they were recorded: which actions and proprioception they hold.
        codec: How the policy reads instructions.

    Raises:
        DataError: No demonstration, an empty one, or shapes that do not fit together.
    """

    def __init__(
        self,
        recordings: Iterable[Recording],
        horizon: int,
        world: World = CELL,
        codec: InstructionCodec = BYTES,
    ) -> None:
        self.horizon = horizon
        self._layout = world.layout
        images, states, actions = [], [], []
        objects: list[NDArray[np.float32] | None] = []
        self._instructions: list[Encoded] = []
        counts: list[int] = []
        for index, recording in enumerate(recordings):
            _check(index, recording, world, images[0].shape[1:] if images else None)
            images.append(recording.images)
            states.append(recording.proprio.astype(np.float32))
            actions.append(recording.action.astype(np.float32))
            objects.append(_object_positions(recording, world))
            counts.append(len(recording.proprio))
            self._instructions.append(_encoded(index, recording.instructions, codec))
        if not images:
            raise DataError("Stage I needs at least one demonstration, found none")
        self.lengths = np.array(counts)
        # Frames stay where they were decoded: one large copy would double the peak memory.
        self._images = images
        self._states = np.concatenate(states)
        self._actions = np.concatenate(actions)
        known = [positions for positions in objects if positions is not None]
        self._objects = np.concatenate(known) if len(known) == len(objects) else None
        self._episode = np.repeat(np.arange(len(counts)), counts)
        self._start = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self._last = self._start + self.lengths - 1

    def __len__(self) -> int:
        return len(self._states)

    @property
    def image_shape(self) -> tuple[int, int, int, int]:
        """(V, H, W, 3)."""
        shape: tuple[int, int, int, int] = self._images[0].shape[1:]
        return shape

    @property
    def nbytes(self) -> int:
        """Bytes that the frames take in memory."""
        return sum(frames.nbytes for frames in self._images)

    @property
    def has_objects(self) -> bool:
        """Whether every demonstration holds the simulator's object positions."""
        return self._objects is not None

    @property
    def episodes(self) -> NDArray[np.int64]:
        """Index of the episode that each frame belongs to, shape (frames,)."""
        return self._episode

    def action_space(self) -> ActionSpace:
        """Return the normalisation measured on these demonstrations."""
        bounds = self._start[1:]
        return measure_space(
            np.split(self._states, bounds), np.split(self._actions, bounds), self.horizon, self._layout
        )

    def batch(self, frames: NDArray[np.int64], wording: NDArray[np.int64] | None = None) -> Batch:
        """Return these frames.

        Args:
            frames: Indices, shape (B,).
            wording: Any non-negative numbers, shape (B,); each, modulo the number of wordings its episode
                has, chooses one. None takes the first, which was said during the episode.
        """
        episode = self._episode[frames]
        steps = frames[:, None] + np.arange(self.horizon)
        last = self._last[episode][:, None]
        images = np.stack([self._images[e][f - self._start[e]] for e, f in zip(episode, frames, strict=True)])
        choice = np.zeros(len(frames), dtype=np.int64) if wording is None else wording
        texts = [
            self._instructions[e][c % len(self._instructions[e])]
            for e, c in zip(episode, choice, strict=True)
        ]
        return Batch(
            images=torch.from_numpy(images),
            instruction=torch.from_numpy(np.stack(texts)),
            proprio=torch.from_numpy(self._states[frames]),
            chunk=torch.from_numpy(self._actions[np.minimum(steps, last)]),
            mask=torch.from_numpy((steps <= last).astype(np.float32)),
            objects=None if self._objects is None else torch.from_numpy(self._objects[frames]),
        )

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Yield all frames in their order, for evaluation."""
        for start in range(0, len(self), batch_size):
            yield self.batch(np.arange(start, min(start + batch_size, len(self))))


class FrameSampler:
    """Draws every frame once a pass, in an order that (seed, pass) fixes; drops the incomplete last batch.

    Args:
        dataset: The frames.
        batch_size: Frames a batch; at most the number of frames.
        seed: Fixes all orders.
        state: Where to go on.

    Raises:
        DataError: Fewer frames than a batch.
    """

    def __init__(
        self, dataset: FrameDataset, batch_size: int, seed: int, state: SamplerState | None = None
    ) -> None:
        if batch_size > len(dataset):
            raise DataError(
                f"a batch of {batch_size} needs as many frames, the demonstrations hold {len(dataset)}"
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        state = state or SamplerState()
        self._begin(state.epoch)
        self._position = state.position

    def _begin(self, epoch: int) -> None:
        rng = np.random.default_rng([self.seed, epoch])
        self._epoch = epoch
        self._position = 0
        self._order = rng.permutation(len(self.dataset))
        self._wording = rng.integers(0, 2**31, len(self.dataset))

    @property
    def state(self) -> SamplerState:
        """Where the sampler stands."""
        return SamplerState(self._epoch, self._position)

    def next(self) -> Batch:
        """Return the next batch."""
        if self._position + self.batch_size > len(self._order):
            self._begin(self._epoch + 1)
        rows = slice(self._position, self._position + self.batch_size)
        self._position += self.batch_size
        return self.dataset.batch(self._order[rows], self._wording[rows])


def load_dataset(
    paths: Sequence[Path], horizon: int, cameras: Sequence[str] = ("head_camera",)
) -> FrameDataset:
    """Read demonstration files into memory.

    Args:
        paths: HDF5 episodes, in the order that fixes the sampling.
        horizon: Chunk length h.
        cameras: Cameras in the policy's order.

    Raises:
        DataError: A file is missing, damaged or of another shape; names file and field.
    """
    return FrameDataset((read_episode(path, cameras=cameras) for path in paths), horizon)


def _encoded(index: int, instructions: tuple[str, ...], codec: InstructionCodec) -> Encoded:
    try:
        return np.stack([codec.encode(text) for text in instructions])
    except ValueError as error:
        raise DataError(f"demonstration {index}: {error}") from error


def _object_positions(recording: Recording, world: World) -> NDArray[np.float32] | None:
    if recording.privileged is None:
        return None
    return recording.privileged[:, world.object_positions].astype(np.float32)


def _check(index: int, recording: Recording, world: World, image_shape: tuple[int, ...] | None) -> None:
    frames = len(recording.proprio)
    for name, size in (("proprio", len(world.proprio_names)), ("action", world.layout.size)):
        shape = getattr(recording, name).shape
        if shape != (frames, size) or frames == 0:
            raise DataError(f"demonstration {index}: {name} must have shape (T, {size}), got {shape}")
    images = recording.images
    if images.dtype != np.uint8 or images.ndim != 5 or images.shape[0] != frames or images.shape[4] != 3:
        raise DataError(
            f"demonstration {index}: images must be uint8 of shape ({frames}, V, H, W, 3), "
            f"got {images.dtype} of shape {images.shape}"
        )
    if image_shape is not None and images.shape[1:] != image_shape:
        raise DataError(
            f"demonstration {index}: images must have shape {image_shape} like the first, "
            f"got {images.shape[1:]}"
        )
    if not recording.instructions:
        raise DataError(f"demonstration {index}: holds no instruction")
