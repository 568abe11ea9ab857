"""Between a robot's own units and the normalised chunk, as part of the graph that is exported.

Some actions are expressed relative to what proprioception measures now (the same motion then has the same
label wherever it happens, and an error of the drive does not accumulate); all others span their limits. Knows
no file format, no network and no robot: which actions there are is an `ActionLayout`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class ActionLayout:
    """What the values of an action are.

    Attributes:
        lower: Least value of each of the A actions.
        upper: Largest value of each.
        grippers: Indices of the grippers.
        relative: Indices of actions in the units of the proprioception value of the same index, and
            normalised relative to it; the others are normalised over their limits.
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    grippers: tuple[int, ...]
    relative: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check that the fields fit together.

        Raises:
            ValueError: Limits of different length or order, or an index without an action.
        """
        if len(self.lower) != len(self.upper) or not all(
            low < high for low, high in zip(self.lower, self.upper, strict=True)
        ):
            raise ValueError(f"limits must be pairs lower < upper, got {self.lower} and {self.upper}")
        for index in (*self.grippers, *self.relative):
            if not 0 <= index < len(self.lower):
                raise ValueError(f"index {index} must lie in 0..{len(self.lower) - 1}")

    @property
    def size(self) -> int:
        """Number of actions A."""
        return len(self.lower)


class ActionSpace(nn.Module):
    """Affine maps between chunks in the robot's units and normalised chunks.

    Args:
        scale: Normalised 1.0 in the robot's units, shape (A,); read for relative actions only, the others
            have half of what their limits span.
        proprio_mean: Mean of proprioception, shape (P,).
        proprio_std: Its standard deviation, shape (P,), positive.
        layout: What the actions are.

    Raises:
        ValueError: An argument is of another shape, not finite, or a scale is not positive.
    """

    scale: Tensor
    relative: Tensor
    centre: Tensor
    lower: Tensor
    upper: Tensor
    proprio_mean: Tensor
    proprio_std: Tensor

    def __init__(
        self, scale: ArrayLike, proprio_mean: ArrayLike, proprio_std: ArrayLike, layout: ActionLayout
    ) -> None:
        super().__init__()
        size, proprio = layout.size, len(np.atleast_1d(np.asarray(proprio_mean)))
        relative = np.zeros(size, dtype=np.float32)
        relative[list(layout.relative)] = 1.0
        if any(index >= proprio for index in layout.relative):
            raise ValueError(
                f"relative actions {layout.relative} need as many proprioception values, got {proprio}"
            )
        lower, upper = np.asarray(layout.lower), np.asarray(layout.upper)
        actions = {
            "scale": np.where(relative > 0, _vector("scale", scale, size), (upper - lower) / 2),
            "relative": relative,
            "centre": (1.0 - relative) * (lower + upper) / 2,
            "lower": lower,
            "upper": upper,
        }
        for name, value in actions.items():
            self.register_buffer(name, torch.from_numpy(_vector(name, value, size)))
        for name, value in (("proprio_mean", proprio_mean), ("proprio_std", proprio_std)):
            self.register_buffer(name, torch.from_numpy(_vector(name, value, proprio)))
        for name in ("scale", "proprio_std"):
            if bool((getattr(self, name) <= 0).any()):
                raise ValueError(f"{name} must be positive for every value")
        self._missing = size - proprio

    @classmethod
    def blank(cls, actions: int, proprio: int) -> ActionSpace:
        """Return a space of these sizes into which a saved one's values are to be loaded."""
        layout = ActionLayout((-1.0,) * actions, (1.0,) * actions, ())
        return cls(np.ones(actions), np.zeros(proprio), np.ones(proprio), layout)

    def reference(self, proprio: Tensor) -> Tensor:
        """Return what normalised 0 means, shape (B, 1, A): proprioception, or the middle of the limits."""
        # As many values as there are actions: a negative pad crops.
        measured = F.pad(proprio, (0, self._missing)) if self._missing else proprio
        return (measured * self.relative + self.centre).unsqueeze(-2)

    def normalise(self, chunk: Tensor, proprio: Tensor) -> Tensor:
        """Return (chunk - reference) / scale.

        Args:
            chunk: Actions in the robot's units, shape (B, h, A).
            proprio: Proprioception at the chunk's first step, shape (B, P).
        """
        return (chunk - self.reference(proprio)) / self.scale

    def to_joints(self, normalised: Tensor, proprio: Tensor) -> Tensor:
        """Return the chunk in the robot's units, clipped to the limits, shape (B, h, A)."""
        chunk = self.reference(proprio) + normalised * self.scale
        return torch.minimum(torch.maximum(chunk, self.lower), self.upper)

    def normalise_proprio(self, proprio: Tensor) -> Tensor:
        """Return proprioception with zero mean and unit deviation, shape (B, P)."""
        return (proprio - self.proprio_mean) / self.proprio_std


def _vector(name: str, value: ArrayLike, size: int) -> NDArray[np.float32]:
    array = np.array(value, dtype=np.float32)
    if array.shape != (size,) or not np.isfinite(array).all():
        raise ValueError(f"{name} must be {size} finite numbers, got shape {array.shape}")
    return array
