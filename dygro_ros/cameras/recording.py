"""What plays a recording as a camera: pictures at their time, stamped as if taken now."""

from __future__ import annotations

import time
from collections.abc import Callable

from dygro_ros.robot_profile import CameraParameters


class Recording:
    """Base of cameras that play a file."""

    def __init__(
        self,
        parameters: CameraParameters,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Take the file's name and the rate from the profile.

        Args:
            parameters: The profile's section.
            clock: Monotonic clock [s].
            sleep: Waits a number of seconds.
            wall_ns: The wall clock [ns].
        """
        self._parameters = parameters
        self._clock, self._sleep, self._wall_ns = clock, sleep, wall_ns
        self._due_s = 0.0

    def reset(self) -> None:
        """Nothing to bring back."""

    def _comes_due(self, timeout_s: float) -> bool:
        """Wait until the next picture is due, no longer than `timeout_s`; return whether it is."""
        wait_s = self._due_s - self._clock()
        if wait_s > timeout_s:
            self._sleep(timeout_s)
            return False
        if wait_s > 0:
            self._sleep(wait_s)
        return True
