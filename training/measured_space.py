"""The normalisation of actions and proprioception, measured on demonstrations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.action_space import ActionLayout, ActionSpace

SCALE_FLOOR = 0.05
"""Least scale of a relative action, in its own units (radians for arms)."""
SCALE_PERCENTILE = 99.5
# A value that never changed in the demonstrations must not blow up measurement noise to full range.
PROPRIO_STD_FLOOR = 0.02


def measure_space(
    states: Sequence[NDArray[np.float32]],
    actions: Sequence[NDArray[np.float32]],
    horizon: int,
    layout: ActionLayout,
    percentile: float = SCALE_PERCENTILE,
) -> ActionSpace:
    """Measure scale and proprioception statistics on demonstrations.

    The scale of a relative action is a robust maximum of |target within the chunk - measured now|: the given
    percentile, never under 0.05, so that a joint that hardly moves does not magnify noise.

    Args:
        states: Proprioception per episode, each of shape (T, P).
        actions: Actions per episode, each of shape (T, A).
        horizon: Chunk length h.
        layout: What the actions are.
        percentile: Which percentile counts as the maximum.

    Raises:
        ValueError: No episode, or shapes that do not fit the layout or each other.
    """
    if not states or len(states) != len(actions):
        raise ValueError(
            f"expected as many state as action arrays and at least one, got {len(states)} and {len(actions)}"
        )
    relative = list(layout.relative)
    offsets: list[NDArray[np.float32]] = []
    for state, action in zip(states, actions, strict=True):
        if state.ndim != 2 or action.shape != (len(state), layout.size):
            raise ValueError(
                f"expected state of shape (T, P) and action of shape (T, {layout.size}), "
                f"got {state.shape} and {action.shape}"
            )
        steps = np.minimum(np.arange(len(state))[:, None] + np.arange(horizon), len(state) - 1)
        distance = np.abs(action[steps][..., relative] - state[:, None, relative])
        offsets.append(distance.astype(np.float32).reshape(len(state) * horizon, len(relative)))
    scale = np.ones(layout.size)
    if relative:
        robust = np.percentile(np.concatenate(offsets), percentile, axis=0)
        scale[relative] = np.maximum(robust, SCALE_FLOOR)
    every_state = np.concatenate([np.asarray(s, dtype=np.float64) for s in states])
    return ActionSpace(
        scale, every_state.mean(axis=0), np.maximum(every_state.std(axis=0), PROPRIO_STD_FLOOR), layout
    )
