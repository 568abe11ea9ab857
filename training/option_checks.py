"""What every stage's options are held against before a run begins: numbers out of range are named."""

from __future__ import annotations

import math

from dygro_ros.errors import UserError


def check_range(
    option: str, value: float | None, least: float, most: float = math.inf, above: bool = False
) -> None:
    """Refuse an option's number outside of `least` .. `most`, NaN included; None is no number and passes.

    Args:
        option: Its name, dashes included.
        value: What was given.
        least: Smallest number that may be; with `above` the largest that may not.
        most: Largest number that may be.
        above: The number must be above `least`.

    Raises:
        UserError: It is outside; names the option.
    """
    if value is None or ((least < value if above else least <= value) and value <= most):
        return
    wanted = f"{'above' if above else 'at least'} {least}" if most == math.inf else f"in {least}..{most}"
    raise UserError(f"{option} must be {wanted}, got {value}")
