"""What looks wrong in a dataset's numbers: order of joints, limits, jumps, idle stretches.

Every finding is a suspicion with its evidence; whoever recorded the data judges. What actions and
measurements tell together is in `training.action_checks`, pictures are in `training.picture_checks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dygro_ros.layout import JOINT_LOWER, JOINT_NAMES, JOINT_UPPER
from training.episode_record import EpisodeRecord

JUMP_SHARE = 0.25
IDLE_S = 1.0
# A joint that moves less than this share of its range in a frame stands still.
STILL_SHARE = 1e-3
# A column that never moves by more says nothing about jumps and order.
LEAST_RANGE = 1e-3
LIMIT_TOLERANCE = 0.05
GRIPPER = "gripper"
FULL_TURN_RAD = 2 * np.pi


@dataclass(frozen=True)
class Finding:
    """One thing that looks wrong.

    Attributes:
        kind: In a word or two, such as "jump".
        text: What was seen and where.
        sure: Whether it cannot be meant (a file that cannot be read), and is no guess.
    """

    kind: str
    text: str
    sure: bool = False


def check_numbers(records: Sequence[EpisodeRecord]) -> list[Finding]:
    """Return what looks wrong in names and values; pictures are not looked at.

    Args:
        records: All episodes, of one robot.
    """
    first = records[0]
    found = [*_names(first)]
    for kind, names in (("proprio", first.proprio_names), ("action", first.action_names)):
        values = [getattr(record, kind) for record in records]
        targets = kind == "proprio" or first.has_targets
        found += _limits(kind, names, values)
        if targets:
            found += _jumps(kind, names, values)
    found += _idle(records)
    return found


def _names(record: EpisodeRecord) -> list[Finding]:
    found = []
    for kind, names in (("proprio", record.proprio_names), ("action", record.action_names)):
        if sorted(names) == sorted(JOINT_NAMES) and names != JOINT_NAMES:
            place = next(index for index, name in enumerate(names) if name != JOINT_NAMES[index])
            found.append(
                Finding(
                    "joint order",
                    f"{kind} has our joints in another order, from column {place} on "
                    f"({names[place]} where {JOINT_NAMES[place]} belongs): training.convert_dataset mends it",
                )
            )
    same = sorted(record.proprio_names) == sorted(record.action_names)
    if same and record.proprio_names != record.action_names:
        found.append(Finding("joint order", "proprio and action have the same names in two orders"))
    return found


def _limits(kind: str, names: Sequence[str], values: Sequence[NDArray[np.float32]]) -> list[Finding]:
    """Compare values of our joints with their limits: a wrong order or unit shows there."""
    found = []
    table = np.concatenate(values)
    for column, name in enumerate(names):
        if name not in JOINT_NAMES:
            continue
        index = JOINT_NAMES.index(name)
        lower, upper = float(JOINT_LOWER[index]), float(JOINT_UPPER[index])
        low, high = float(table[:, column].min()), float(table[:, column].max())
        slack = LIMIT_TOLERANCE * (upper - lower)
        if low < lower - slack or high > upper + slack:
            degrees = max(-low, high) > 2 * FULL_TURN_RAD
            guess = "degrees instead of radians?" if degrees else "another order of joints, another zero?"
            found.append(
                Finding(
                    "limits",
                    f"{kind} {name} spans {low:.3g} .. {high:.3g}, its limits are {lower:.3g} .. "
                    f"{upper:.3g}: {guess}",
                )
            )
    return found


def observed_spans(names: Sequence[str], table: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return each column's range: from its limits where it is one of our joints, else as observed."""
    spans = (table.max(axis=0) - table.min(axis=0)).astype(np.float64)
    for column, name in enumerate(names):
        if name in JOINT_NAMES:
            index = JOINT_NAMES.index(name)
            spans[column] = JOINT_UPPER[index] - JOINT_LOWER[index]
    return spans


def _jumps(kind: str, names: Sequence[str], values: Sequence[NDArray[np.float32]]) -> list[Finding]:
    """Find steps of more than a quarter of a joint's range; grippers may open and close in one step."""
    spans = observed_spans(names, np.concatenate(values))
    found = []
    for column, name in enumerate(names):
        if GRIPPER in name or spans[column] < LEAST_RANGE:
            continue
        count, wraps, where = 0, 0, ""
        for episode, table in enumerate(values):
            steps = np.diff(table[:, column])
            jumps = np.flatnonzero(np.abs(steps) > JUMP_SHARE * spans[column])
            count += len(jumps)
            before, after = table[jumps, column], table[jumps + 1, column]
            # A rotation vector or an angle that goes over its end comes back with the other sign.
            wraps += int(np.sum(np.isclose(before, -after, atol=0.1 * spans[column])))
            if len(jumps) and not where:
                at = int(jumps[0])
                change = f"{table[at, column]:.3g} to {table[at + 1, column]:.3g}"
                where = f"episode {episode}, frame {at + 1}: {change}"
        if count:
            hint = "; most change only their sign: an angle that wraps?" if 2 * wraps > count else ""
            found.append(
                Finding(
                    "jump",
                    f"{kind} {name} steps by more than {JUMP_SHARE:.0%} of its range {count} times, "
                    f"first in {where}{hint}",
                )
            )
    return found


def _idle(records: Sequence[EpisodeRecord]) -> list[Finding]:
    """Find stretches in which nothing that is measured moves."""
    spans = observed_spans(records[0].proprio_names, np.concatenate([record.proprio for record in records]))
    least = np.maximum(STILL_SHARE * spans, 1e-9)
    stretches: list[tuple[float, int, int, int]] = []
    for episode, record in enumerate(records):
        still = np.all(np.abs(np.diff(record.proprio, axis=0)) < least, axis=1)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(int)))
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            if stop - start >= IDLE_S * record.rate_hz:
                stretches.append(((stop - start) / record.rate_hz, episode, int(start), int(stop)))
    if not stretches:
        return []
    seconds, episode, start, stop = max(stretches)
    share = sum(stretch[3] - stretch[2] for stretch in stretches) / sum(len(r.proprio) for r in records)
    return [
        Finding(
            "idle",
            f"{len(stretches)} stretches of {IDLE_S:g} s or more without a motion, {share:.0%} of all "
            f"frames; the longest {seconds:.1f} s, episode {episode}, frames {start} to {stop}",
        )
    ]
