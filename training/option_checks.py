"""What every stage's options are held against before a run begins: numbers out of range are named."""

from __future__ import annotations

import math

from dygro_ros.errors import UserError


def check_range(option: str, value: float | None, least: float, most: float = math.inf) -> None:
    """Refuse an option's number outside of `least` .. `most`, NaN included; None is no number and passes.

    Raises:
        UserError: It is outside; names the option.
    """
    if value is None or least <= value <= most:
        return
    wanted = f"at least {least}" if most == math.inf else f"in {least}..{most}"
    raise UserError(f"{option} must be {wanted}, got {value}")
