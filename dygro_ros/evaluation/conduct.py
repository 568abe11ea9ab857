"""A whole sitting with an operator, in the terminal or on the page, and what is left when it ends."""

from __future__ import annotations

import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dygro_ros.evaluation.live_picture import LivePicture
from dygro_ros.evaluation.plan import EvaluationPlan
from dygro_ros.evaluation.provenance import provenance
from dygro_ros.evaluation.record import EvaluationRecord, open_record
from dygro_ros.evaluation.report import write_report
from dygro_ros.evaluation.results import results
from dygro_ros.evaluation.session import Session, wall_clock
from dygro_ros.evaluation.sitting import Sitting
from dygro_ros.evaluation.terminal import Terminal
from dygro_ros.evaluation.trial_robot import TrialRobot

LOCAL, PORT = "127.0.0.1", 8642


@dataclass(frozen=True)
class Page:
    """Where the page is served; the terminal is used where there is none."""

    host: str = LOCAL
    port: int = PORT
    """0 takes any that is free."""


@contextmanager
def opened(plan: EvaluationPlan, folder: Path) -> Iterator[EvaluationRecord]:
    """Open the plan's record, or begin it; see `open_record`."""
    record = open_record(folder, plan, lambda: provenance(plan))
    try:
        yield record
    finally:
        record.close()


def sit(record: EvaluationRecord, robot: TrialRobot, picture: LivePicture, page: Page | None) -> None:
    """Lead an operator through the trials that are left; SIGTERM ends it as Ctrl-C does, arms at rest.

    Args:
        record: Of the plan.
        robot: What runs the trials.
        picture: The head camera's, for the page.
        page: None for the terminal.

    Raises:
        UserError: The page's address cannot be listened on.
    """
    where: Literal["page", "terminal"] = "page" if page else "terminal"
    record.begin_session({"where": where, "at": wall_clock(), "machine": platform.node()})
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Sitting(Session(record, robot), watched=page is not None) as sitting:
            if page is None:
                Terminal(sitting, lambda line: print(line, flush=True)).run(sys.stdin)
                return
            # Nobody else needs a web server.
            from dygro_ros.evaluation.page.serve import PageServer

            server = PageServer(sitting, picture, page.host, page.port)
            print(f"open {server.address}", flush=True)
            server.run()
    except KeyboardInterrupt:
        print(file=sys.stderr)
    finally:
        signal.signal(signal.SIGTERM, before)


def close_sitting(record: EvaluationRecord) -> str:
    """Write the report if all is done; return what to tell the operator."""
    if record.complete:
        return str(write_report(results(record), record.folder))
    return (
        f"{len(record.finished)} of {len(record.trials)} trials have their outcome; the same command goes on"
    )


def unblind(record: EvaluationRecord) -> str:
    """Open the code names, which the ledger notes, and write the report; return what to tell."""
    if not record.unblinded:
        record.look("names", wall_clock())
    return str(write_report(results(record), record.folder))
