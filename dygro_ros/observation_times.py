"""When each picture was taken, on the bridge's monotonic clock.

Chunks name their observation by its time stamp, which is the wall clock's. What the arms do must not depend
on that clock, so its stamps are used as names only: the bridge hears of every picture as it is taken, notes
its own monotonic time, less the picture's age on arrival, and looks it up when the chunk comes. A jump of the
wall clock then costs the pictures under way at that moment, whose age on arrival makes no sense.
"""

from __future__ import annotations

from collections import OrderedDict

# Pictures kept: some seconds at the rates of cameras.
KEPT = 256
# A picture that seems older than this on arrival, or younger than 0, has a stamp of another clock [s].
OLDEST_S = 1.0
EARLIEST_S = -0.002


class ObservationTimes:
    """The monotonic times of the last pictures, by their stamps."""

    def __init__(self) -> None:
        """Begin without pictures."""
        self._taken_s: OrderedDict[int, float] = OrderedDict()
        self.refused = 0
        """Pictures whose age on arrival made no sense."""

    def arrived(self, stamp_ns: int, wall_ns: int, now_s: float) -> bool:
        """Note a picture and return whether its stamp made sense.

        Args:
            stamp_ns: Its time stamp [ns], wall clock.
            wall_ns: The wall clock now [ns].
            now_s: The monotonic clock now [s].
        """
        age_s = (wall_ns - stamp_ns) * 1e-9
        if not EARLIEST_S <= age_s <= OLDEST_S:
            self.refused += 1
            return False
        self._taken_s[stamp_ns] = now_s - max(age_s, 0.0)
        while len(self._taken_s) > KEPT:
            self._taken_s.popitem(last=False)
        return True

    def taken_s(self, stamp_ns: int) -> float | None:
        """Return when the picture of this stamp was taken [s, monotonic], None for an unknown one."""
        return self._taken_s.get(stamp_ns)
