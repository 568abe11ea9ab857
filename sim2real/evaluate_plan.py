"""Run an evaluation plan in the simulated cell, unattended: the tasks' own success checks judge.

    python -m sim2real.evaluate_plan config/plans/cell.yaml --out runs/evaluations/cell
    python -m sim2real.evaluate_plan config/plans/cell.yaml --out runs/evaluations/cell --unblind

A run that was broken off goes on where it stopped. The report goes by code names until `--unblind` opens
them, which the ledger shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import tyro
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dygro_ros.errors import run_main
from dygro_ros.evaluation.plan import read_plan
from dygro_ros.evaluation.provenance import provenance
from dygro_ros.evaluation.record import open_record
from dygro_ros.evaluation.report import write_report
from dygro_ros.evaluation.results import results
from dygro_ros.evaluation.session import Session
from sim2real.cell_trials import open_cell_trials, run_to_the_end


@dataclass(frozen=True)
class EvaluatePlan:
    """Run an evaluation plan in the simulated cell, unattended."""

    plan: Annotated[Path, tyro.conf.Positional]
    """The plan (YAML), with a section simulation."""
    out: Path | None = None
    """Folder for ledger and report; runs/evaluations/<name of the plan's file> by default."""
    unblind: bool = False
    """Open the code names when every trial is done."""


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def main() -> int:
    """Run what is left of the plan and write the report."""
    options = tyro.cli(EvaluatePlan)
    plan = read_plan(options.plan)
    folder = options.out or Path("runs/evaluations") / options.plan.stem
    # Nothing is written before the plan is known to run here.
    robot = open_cell_trials(plan)
    record = open_record(folder, plan, lambda: provenance(plan))
    try:
        record.begin_session({"where": "in process", "at": _now()})
        session = Session(record, robot, clock=robot.clock)
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(TextColumn("trials"), *columns) as progress:
            bar = progress.add_task("trials", total=len(record.trials), completed=len(record.finished))
            for _ in run_to_the_end(session, robot):
                progress.advance(bar)
        if options.unblind and not record.unblinded:
            record.look("names", _now())
        page = write_report(results(record), folder)
    finally:
        record.close()
        robot.close()
    print(page)
    return 0


if __name__ == "__main__":
    run_main(main)
