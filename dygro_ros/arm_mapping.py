"""Between an arm's driver and our joint units: names, order, and the gripper's own scale.

Knows no middleware.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import UserError
from dygro_ros.robot_profile import ArmParameters

Array = NDArray[np.float64]


class ArmMapping:
    """One arm: 6 joints [rad] and a gripper (0 closed .. 1 open), here and as its driver says them."""

    def __init__(self, side: str, arm: ArmParameters) -> None:
        """Take names and gripper scale from the profile; `side` names the arm in messages."""
        self.side = side
        self.names = list(arm.joint_names)
        self._closed = arm.gripper_closed
        self._stroke = arm.gripper_open - arm.gripper_closed

    def to_joint_units(self, names: Sequence[str], positions: Sequence[float]) -> Array:
        """Return measured joints in joint units, (7,), whatever their order in the message.

        Args:
            names: The message's names; a driver may add joints that are not ours.
            positions: The message's positions.

        Raises:
            UserError: A joint is missing or named twice, lengths differ, or a value is not finite.
        """
        if len(names) != len(positions):
            raise UserError(f"{self.side}: {len(names)} joint names came with {len(positions)} positions")
        found = dict(zip(names, positions, strict=True))
        missing = [name for name in self.names if name not in found]
        if missing or len(found) != len(names):
            raise UserError(
                f"{self.side}: expected joints {', '.join(self.names)}, each once, "
                f"got {', '.join(names) or 'none'}"
            )
        values = np.array([found[name] for name in self.names], dtype=np.float64)
        if not np.isfinite(values).all():
            raise UserError(f"{self.side}: measured joints must be finite, got {values.tolist()}")
        values[-1] = (values[-1] - self._closed) / self._stroke
        return values

    def to_driver(self, positions: Array) -> list[float]:
        """Return a command, (7,) joint units, as the driver's positions in the order of `names`."""
        values = np.array(positions, dtype=np.float64)
        values[-1] = self._closed + values[-1] * self._stroke
        return [float(value) for value in values]
