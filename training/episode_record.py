"""One demonstration in memory: what every format of a dataset reads into and is written from.

Knows neither files nor formats, and no robot beyond the names that a record carries.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import DataError
from dygro_ros.layout import JOINT_NAMES

# Actions of such names say how far to go from here; all others where to go.
STEP_PREFIX = "delta_"


@dataclass(frozen=True)
class EpisodeRecord:
    """One demonstration of T frames, of any robot.

    Attributes:
        instructions: What may be said for this episode; the first is what was said.
        rate_hz: Frames a second.
        proprio: What the robot measured of itself, shape (T, n) float32, n names in `proprio_names`.
        action: Commands, the label of cloning, shape (T, m) float32, m names in `action_names`.
        cameras: Names of the cameras.
        images: RGB, upright, shape (T, V, H, W, 3) uint8, in the order of `cameras`.
        proprio_names: What the columns of `proprio` are; without a word the 14 joints of our layout.
        action_names: What the columns of `action` are, likewise. One that begins with `delta_` is a step
            from where the robot is; all others are targets.
        executed: Commands really sent (label and exploration noise), shape (T, m) float32.
        privileged: Simulator state for critics, shape (T, P) float32.
        joint_states: Measured joints, shape (T, J) float64, where `proprio` holds something else.
        simulator_states: What sets the simulator back to each frame, shape (T, S) float64.
        task: Name of the task; None, as below, in data that does not come from our simulator.
        seed: Episode seed.
        companion: Task whose objects stood beside, None also if there was none.
        randomization: The episode's randomisation draw as JSON.
    """

    instructions: tuple[str, ...]
    rate_hz: float
    proprio: NDArray[np.float32]
    action: NDArray[np.float32]
    cameras: tuple[str, ...]
    images: NDArray[np.uint8]
    proprio_names: tuple[str, ...] = JOINT_NAMES
    action_names: tuple[str, ...] = JOINT_NAMES
    executed: NDArray[np.float32] | None = None
    privileged: NDArray[np.float32] | None = None
    joint_states: NDArray[np.float64] | None = None
    simulator_states: NDArray[np.float64] | None = None
    task: str | None = None
    seed: int | None = None
    companion: str | None = None
    randomization: str | None = None

    def __post_init__(self) -> None:
        """Refuse what would give a column a wrong name or a frame no partner."""
        frames = len(self.proprio)
        for name, values, names in (
            ("proprio", self.proprio, self.proprio_names),
            ("action", self.action, self.action_names),
        ):
            if values.shape != (frames, len(names)):
                raise ValueError(f"{name} must have shape ({frames}, {len(names)}), got {values.shape}")
        if self.images.ndim != 5 or self.images.shape[:2] != (frames, len(self.cameras)):
            raise ValueError(
                f"images must have shape ({frames}, {len(self.cameras)}, H, W, 3), got {self.images.shape}"
            )

    @property
    def has_targets(self) -> bool:
        """Whether an action says where to go; a step (`delta_`) says how far."""
        return not any(name.startswith(STEP_PREFIX) for name in self.action_names)


def is_rate(value: Any) -> bool:
    """Return whether what a file or an option says is a rate [Hz]: a finite number above 0."""
    # JSON holds integers of any size, which a float does not.
    return isinstance(value, (int, float, np.integer, np.floating)) and 0 < value <= sys.float_info.max


def no_pictures(frames: int) -> NDArray[np.uint8]:
    """Return the `images` of a record without cameras, shape (T, 0, 0, 0, 3)."""
    return np.zeros((frames, 0, 0, 0, 3), dtype=np.uint8)


def stack_views(
    where: str, cameras: Sequence[str], views: Sequence[NDArray[np.uint8]], frames: int
) -> NDArray[np.uint8]:
    """Return the cameras' pictures as one array, shape (T, V, H, W, 3).

    Args:
        where: The episode, as messages name it.
        cameras: Names of the cameras.
        views: For each of them its pictures, shape (T, H, W, 3).
        frames: Length T.

    Raises:
        DataError: The cameras differ in size.
    """
    if not views:
        return no_pictures(frames)
    sizes = {name: f"{view.shape[2]} x {view.shape[1]}" for name, view in zip(cameras, views, strict=True)}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{name} {size} px" for name, size in sizes.items())
        raise DataError(f"{where}: cameras must have one size, found {found}: choose by --cameras")
    return np.stack(views, axis=1)


def require_names(
    where: str, record: EpisodeRecord, proprio_names: Sequence[str], action_names: Sequence[str]
) -> None:
    """Check that a record is of the robot that is wanted.

    Args:
        where: The episode, as messages name it.
        record: The demonstration.
        proprio_names: Names that the columns of `proprio` must have, in this order.
        action_names: Names that the columns of `action` must have, in this order.

    Raises:
        DataError: Another robot's names, or the same in another order; says what mends it.
    """
    for kind, found, expected in (
        ("proprio", record.proprio_names, tuple(proprio_names)),
        ("action", record.action_names, tuple(action_names)),
    ):
        if found == expected:
            continue
        if sorted(found) == sorted(expected):
            raise DataError(
                f"{where}: {kind} must be in the order {', '.join(expected)}, found {', '.join(found)}: "
                "python -m training.convert_dataset brings them into our order by their names"
            )
        raise DataError(
            f"{where}: {kind} is another robot's: expected {', '.join(expected)}, found {', '.join(found)}; "
            "if only the names differ, give the right ones by --proprio-names and --action-names of "
            "python -m training.convert_dataset"
        )


def in_order(
    record: EpisodeRecord, proprio_names: Sequence[str], action_names: Sequence[str]
) -> EpisodeRecord:
    """Return the record with its columns in this order of names; as it is where it has other names."""
    proprio, action = tuple(proprio_names), tuple(action_names)
    changes: dict[str, object] = {}
    if sorted(record.proprio_names) == sorted(proprio) and record.proprio_names != proprio:
        columns = [record.proprio_names.index(name) for name in proprio]
        changes |= {"proprio": record.proprio[:, columns], "proprio_names": proprio}
    if sorted(record.action_names) == sorted(action) and record.action_names != action:
        columns = [record.action_names.index(name) for name in action]
        changes |= {"action": record.action[:, columns], "action_names": action}
        if record.executed is not None:
            changes["executed"] = record.executed[:, columns]
    return replace(record, **changes)  # type: ignore[arg-type]
