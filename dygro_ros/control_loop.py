"""A thread that calls a function at a steady rate on the monotonic clock, and knows how steady it was."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from dygro_ros.real_time import ask_for_priority

# Another thread may keep Python's lock this long [s]; the default of 5 ms would be most of a period.
SWITCH_INTERVAL_S = 0.0005
LATENESS_KEPT = 4096


class ControlLoop:
    """Calls `tick(now_s)` once each period until stopped.

    A call that comes late is not made up for: the next one is due on the same grid of times.
    """

    def __init__(
        self,
        tick: Callable[[float], None],
        period_s: float,
        *,
        prepare: Callable[[], None] | None = None,
        finish: Callable[[], None] | None = None,
        priority: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare; `start` begins.

        Args:
            tick: Called in the loop's own thread with the time [s]; an exception ends the loop.
            period_s: Time between two calls [s].
            prepare: Called in the loop's own thread before the first call; `start` waits for it.
            finish: Called in the loop's own thread when it ends.
            priority: Real-time priority of the loop's own thread, 1 to 99; 0: none.
            clock: Monotonic clock [s].
            sleep: Waits a number of seconds.
        """
        self._tick, self._period_s = tick, period_s
        self._prepare, self._finish, self._clock, self._sleep = prepare, finish, clock, sleep
        self._priority = priority
        self.scheduling = ""
        """What the loop's thread runs with, as `ask_for_priority` says; empty before `start`."""
        self._begun = threading.Event()
        self._lateness_s: deque[float] = deque(maxlen=LATENESS_KEPT)
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a thread."""
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL_S))
        self._ends.clear()
        self._begun.clear()
        self._thread = threading.Thread(target=self._run_with_priority, name="control", daemon=True)
        self._thread.start()
        self._begun.wait()

    def stop(self) -> None:
        """End after the call at hand."""
        self._ends.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    @property
    def running(self) -> bool:
        """Whether the loop calls."""
        return self._thread is not None and self._thread.is_alive()

    def lateness_s(self) -> list[float]:
        """Return how late the last calls came [s]."""
        return list(self._lateness_s)

    def _run_with_priority(self) -> None:
        self.scheduling = ask_for_priority(self._priority)
        self.run()

    def run(self) -> None:
        """Call until `stop`, in this thread."""
        try:
            if self._prepare is not None:
                self._prepare()
            self._begun.set()
            due_s = self._clock()
            while not self._ends.is_set():
                now_s = self._clock()
                if now_s < due_s:
                    self._sleep(due_s - now_s)
                    continue
                self._lateness_s.append(now_s - due_s)
                self._tick(now_s)
                passed = int((self._clock() - due_s) / self._period_s) + 1
                due_s += max(passed, 1) * self._period_s
        finally:
            self._begun.set()
            if self._finish is not None:
                self._finish()
