"""How each node is, from what it says on /diagnostics, and for how long it has said nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from diagnostic_msgs.msg import DiagnosticArray

from dygro_ros.graph import POLICY

LEVELS = ("ok", "warn", "error", "error")
# Each node says how it is twice a second; three missed are more than bad luck [s].
SILENT_S = 1.6


class NodeHealth:
    """Some nodes by their names. One thread takes messages, any may ask."""

    def __init__(self, names: Iterable[str], clock: Callable[[], float] = time.monotonic) -> None:
        """Count none as heard.

        Args:
            names: The nodes that belong to the robot; others are not heeded.
            clock: Monotonic clock [s].
        """
        self._names, self._clock = tuple(names), clock
        self._said: dict[str, tuple[float, str, str]] = {}

    def take(self, message: DiagnosticArray) -> None:
        """Take what some nodes say of themselves."""
        for status in message.status:
            if status.name not in self._names:
                continue
            level = LEVELS[min(int.from_bytes(status.level, "little"), len(LEVELS) - 1)]
            text = status.message
            if status.name == POLICY and level == "error":
                # It may name its bundle, and who sees that under a code name knows too much.
                text = "it cannot run its bundle: see its log"
            self._said[status.name] = (self._clock(), level, text)

    def silence(self, name: str) -> str:
        """Return a few words if a node is not heard, else none."""
        said = self._said.get(name)
        if said is None:
            return "not heard yet; is it running?"
        age_s = self._clock() - said[0]
        return f"not heard for {age_s:.0f} s" if age_s > SILENT_S else ""

    def states(self) -> tuple[tuple[str, str, str], ...]:
        """Return each node's name, level (ok, warn, error) and a sentence."""
        found = []
        for name in self._names:
            silent = self.silence(name)
            level, text = ("error", silent) if silent else self._said[name][1:]
            found.append((name, level, text))
        return tuple(found)
