"""What actions and measurements tell together: columns mixed up, commands too late, constant offsets.

Every finding is a suspicion with its evidence; whoever recorded the data judges.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from training.dataset_checks import GRIPPER, LEAST_RANGE, Finding, observed_spans
from training.episode_record import STEP_PREFIX, EpisodeRecord

FARTHEST_LAG = 5
OFFSET_SHARE = 0.05
# Of the distances that an order leaves, another must leave less than half to be believed.
CLEARLY_BETTER = 0.5
# So many frames say enough, and bound the memory.
MOST_FRAMES = 20_000
# Steps and motions of a hand that belong together agree at least so much.
LEAST_CORRELATION = 0.3


def check_actions(records: Sequence[EpisodeRecord]) -> list[Finding]:
    """Return what looks wrong between actions and measurements.

    Args:
        records: All episodes, of one robot; pictures are not looked at.
    """
    frames = sum(len(record.action) for record in records)
    records = records[:: max(1, frames // MOST_FRAMES)]
    if max(len(record.action) for record in records) <= FARTHEST_LAG + 1:
        return []
    first = records[0]
    if not first.has_targets:
        return _late_steps(records)
    pairs = [name for name in first.action_names if name in first.proprio_names]
    return _order_and_offsets(records, pairs) if len(pairs) > 1 else []


def _late_steps(records: Sequence[EpisodeRecord]) -> list[Finding]:
    """Find steps (`delta_x`) that come after the motion (of `ee_x`) which they caused."""
    first = records[0]
    suffixes = [name.removeprefix(STEP_PREFIX) for name in first.action_names if name.startswith(STEP_PREFIX)]
    pairs = [
        (first.action_names.index(f"{STEP_PREFIX}{suffix}"), first.proprio_names.index(f"ee_{suffix}"))
        for suffix in suffixes
        # Rotation vectors add up to no motion.
        if len(suffix) == 1 and f"ee_{suffix}" in first.proprio_names
    ]
    if not pairs:
        return []
    agreement = {}
    for lag in range(-FARTHEST_LAG, FARTHEST_LAG + 1):
        products, steps_squared, motions_squared = 0.0, 0.0, 0.0
        for record in records:
            motion = np.diff(record.proprio, axis=0)
            count = len(motion) - abs(lag)
            for action, measured in pairs if count > 0 else ():
                steps = record.action[max(-lag, 0) :][:count, action].astype(np.float64)
                moved = motion[max(lag, 0) :][:count, measured].astype(np.float64)
                products += float(steps @ moved)
                steps_squared += float(steps @ steps)
                motions_squared += float(moved @ moved)
        agreement[lag] = products / max(np.sqrt(steps_squared * motions_squared), 1e-12)
    lag = max(agreement, key=lambda lag: agreement[lag])
    if lag >= 0 or agreement[lag] < LEAST_CORRELATION:
        return []
    return [
        Finding(
            "offset in time",
            f"steps agree best (correlation {agreement[lag]:.2f}) with the motion {-lag} frames BEFORE them: "
            "what was seen after an action stands beside it, as in the files of LIBERO's own script",
        )
    ]


def _order_and_offsets(records: Sequence[EpisodeRecord], pairs: Sequence[str]) -> list[Finding]:
    """Compare targets with what was measured a little later: order of columns, delay, constant offsets."""
    first = records[0]
    measured = [first.proprio_names.index(name) for name in pairs]
    commanded = [first.action_names.index(name) for name in pairs]
    spans = observed_spans(first.proprio_names, np.concatenate([record.proprio for record in records]))[
        measured
    ]
    moves = spans > LEAST_RANGE
    distances = {
        lag: _distances(records, measured, commanded, spans, lag)
        for lag in range(-FARTHEST_LAG, FARTHEST_LAG + 1)
    }
    found = []
    # The best pairing of columns, at the delay that suits it best.
    lag = min(distances, key=lambda lag: float(distances[lag].min(axis=0).sum()))
    costs = distances[lag]
    rows, columns = linear_sum_assignment(costs)
    best, as_named = float(costs[rows, columns].sum()), float(np.trace(costs))
    swapped = [row for row, column in zip(rows, columns, strict=True) if row != column and moves[row]]
    if swapped and best < CLEARLY_BETTER * as_named:
        told = ", ".join(f"action {pairs[row]} follows proprio {pairs[columns[row]]}" for row in swapped[:4])
        found.append(Finding("joint order", f"columns of action seem mixed up: {told}"))
        return found
    lag = min(distances, key=lambda lag: float(np.trace(distances[lag])))
    if lag < 0:
        found.append(
            Finding(
                "offset in time",
                f"an action fits best what was measured {-lag} frames BEFORE it: commands must come first",
            )
        )
    elif lag == 0 and np.trace(distances[0]) < 1e-6:
        found.append(
            Finding("offset in time", "every action equals what was measured in its own frame: no command")
        )
    found += _constant_offsets(records, pairs, measured, commanded, spans, max(lag, 0))
    return found


def _distances(
    records: Sequence[EpisodeRecord],
    measured: list[int],
    commanded: list[int],
    spans: NDArray[np.float64],
    lag: int,
) -> NDArray[np.float64]:
    """Return how far action column i lies from proprio column j `lag` frames later, shape (n, n).

    A constant offset between two columns is left out of it; distances are shares of j's range.
    """
    actions, states = [], []
    for record in records:
        frames = len(record.action) - abs(lag)
        if frames > 0:
            actions.append(record.action[max(-lag, 0) :][:frames, commanded])
            states.append(record.proprio[max(lag, 0) :][:frames, measured])
    action, state = np.concatenate(actions), np.concatenate(states)
    centred = (action - action.mean(axis=0))[:, :, None] - (state - state.mean(axis=0))[:, None, :]
    distances: NDArray[np.float64] = np.abs(centred).mean(axis=0) / np.maximum(spans, LEAST_RANGE)
    return distances


def _constant_offsets(
    records: Sequence[EpisodeRecord],
    pairs: Sequence[str],
    measured: list[int],
    commanded: list[int],
    spans: NDArray[np.float64],
    lag: int,
) -> list[Finding]:
    """Find joints whose targets lie beside what is measured, always on the same side."""
    differences = np.concatenate(
        [
            record.action[: max(0, len(record.action) - lag), commanded] - record.proprio[lag:, measured]
            for record in records
        ]
    )
    middle, spread = np.median(differences, axis=0), differences.std(axis=0)
    found = []
    for column, name in enumerate(pairs):
        beside = abs(middle[column])
        if GRIPPER not in name and beside > OFFSET_SHARE * spans[column] and beside > 2 * spread[column]:
            found.append(
                Finding(
                    "offset",
                    f"action {name} lies {middle[column]:+.3g} beside what is measured, all the time: "
                    "another zero?",
                )
            )
    return found
