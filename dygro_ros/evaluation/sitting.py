"""A sitting goes on by itself: time passes, somebody must be watching, and at the end there is a report.

Terminal and page stand on this; neither moves the session's time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from dygro_ros.errors import UserError
from dygro_ros.evaluation.report import REPORT_FILE, write_report
from dygro_ros.evaluation.results import results
from dygro_ros.evaluation.session import Phase, Session, wall_clock

TICK_S = 0.02
# Nobody watches where no page has been heard for so long [s].
WATCHED_S = 2.0


class Sitting:
    """Lets a session's time pass while entered; leaving it brings the arms to rest."""

    def __init__(
        self, session: Session, *, watched: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Prepare; entering begins.

        Args:
            session: The session.
            watched: Whether the arms are stopped where nobody says that they are watched, by `seen`.
            clock: Monotonic clock [s].
        """
        self.session = session
        self._watched, self._clock = watched, clock
        self._seen_s = float("-inf")
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sitting", daemon=True)

    def __enter__(self) -> Sitting:
        """Let time pass."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Bring the arms to rest."""
        self._ends.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.session.close()

    def seen(self, now_s: float) -> None:
        """Note that somebody watches."""
        self._seen_s = now_s

    def tick(self) -> None:
        """Let the session go on; stop the arms where nobody watches them."""
        self.session.tick()
        if not self._watched or self._clock() - self._seen_s <= WATCHED_S:
            return
        if self.session.view().phase in (Phase.COUNTDOWN, Phase.RUNNING):
            self.session.stop()

    @property
    def report_path(self) -> Path:
        """Where the report is, once it was asked for."""
        return self.session.record.folder / REPORT_FILE

    def report(self) -> Path:
        """Write the report; before the last trial that is a look, which the ledger keeps.

        Raises:
            UserError: Ledger or report cannot be written.
        """
        record = self.session.record
        if not record.complete:
            record.look("report", wall_clock())
        try:
            return write_report(results(record), record.folder)
        except OSError as error:
            raise UserError(f"{self.report_path} cannot be written: {error.strerror}") from error

    def _run(self) -> None:
        try:
            while not self._ends.wait(TICK_S):
                self.tick()
        finally:
            if not self._ends.is_set():
                # Whatever went wrong here: nobody ends the trial at hand any more.
                self.session.stop()
