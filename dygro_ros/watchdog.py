"""Ages of what the arms depend on, each watched apart, on one monotonic clock that the caller owns.

A source that is late by `warn_s` is reported, by `stop_s` makes the arms decelerate and hold, by `fault_s`
is a fault that only an explicit reset clears. A jump of the wall clock changes nothing: only the time since a
message arrived counts. Knows neither messages nor arms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from dygro_ros.errors import UserError, unknown_name


class Level(IntEnum):
    """How late a source is; larger is worse."""

    FRESH = 0
    WARN = 1
    STOP = 2
    FAULT = 3


@dataclass(frozen=True)
class AgeLimits:
    """Ages from which a source counts as late [s], growing."""

    warn_s: float
    stop_s: float
    fault_s: float

    def __post_init__(self) -> None:
        """Check the order.

        Raises:
            UserError: The ages are not positive and growing.
        """
        if not 0 < self.warn_s <= self.stop_s <= self.fault_s:
            raise UserError(
                "ages must be positive and growing, got "
                f"warn_s {self.warn_s:g}, stop_s {self.stop_s:g}, fault_s {self.fault_s:g}"
            )

    def level(self, age_s: float) -> Level:
        """Return how late an age is."""
        reached = (age_s > self.warn_s) + (age_s > self.stop_s) + (age_s > self.fault_s)
        return Level(int(reached))


@dataclass(frozen=True)
class Lateness:
    """The latest of all sources."""

    level: Level
    source: str
    age_s: float

    def __str__(self) -> str:
        """Say it in a few words."""
        return f"{self.source} {1e3 * self.age_s:.0f} ms old"


class Watchdog:
    """When each source was last heard."""

    def __init__(self, limits: Mapping[str, AgeLimits], now_s: float) -> None:
        """Count every source as heard just now.

        Args:
            limits: Ages by the source's name; at least one source.
            now_s: Now, on the monotonic clock.
        """
        if not limits:
            raise UserError("a watchdog needs at least one source, got none")
        self.limits = dict(limits)
        self._heard_s = dict.fromkeys(limits, now_s)

    def heard(self, source: str, now_s: float) -> None:
        """Note that a source was heard.

        Raises:
            UserError: The source is unknown.
        """
        if source not in self._heard_s:
            raise unknown_name("source", source, tuple(self._heard_s))
        self._heard_s[source] = now_s

    def age_s(self, source: str, now_s: float) -> float:
        """Return the age of a source [s]."""
        return now_s - self._heard_s[source]

    def latest(self, now_s: float, sources: Iterable[str] | None = None) -> Lateness:
        """Return the worst of some sources, or of all: the highest level, then the age beyond its stop."""
        found = [
            Lateness(self.limits[name].level(self.age_s(name, now_s)), name, self.age_s(name, now_s))
            for name in (self.limits if sources is None else sources)
        ]
        return max(found, key=lambda late: (late.level, late.age_s - self.limits[late.source].stop_s))
