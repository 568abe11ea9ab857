"""Run an evaluation plan in the simulated cell, unattended: the tasks' own success checks judge.

    python -m sim2real.evaluate_plan config/plans/cell.yaml --out runs/evaluations/cell
    python -m sim2real.evaluate_plan config/plans/cell.yaml --out runs/evaluations/cell --unblind

A run that was broken off goes on where it stopped. The report goes by code names until `--unblind` opens
them, which the ledger shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, NamedTuple

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
from dygro_ros.evaluation.plan import EvaluationPlan, read_plan
from dygro_ros.evaluation.provenance import provenance
from dygro_ros.evaluation.record import open_record
from dygro_ros.evaluation.report import write_report
from dygro_ros.evaluation.results import results
from dygro_ros.evaluation.session import Session
from dygro_ros.evaluation.trial_robot import TrialRobot
from dygro_ros.ros_commands import require_ros
from sim2real.cell_trials import bundles_of, open_cell_trials, run_to_the_end

NODES_LOG = "nodes.log"


@dataclass(frozen=True)
class EvaluatePlan:
    """Run an evaluation plan in the simulated cell, unattended."""

    plan: Annotated[Path, tyro.conf.Positional]
    """The plan (YAML), with a section simulation."""
    out: Path | None = None
    """Folder for ledger and report; runs/evaluations/<name of the plan's file> by default."""
    nodes: bool = False
    """Through the ROS 2 nodes, over real DDS and in real time, with a recording of each trial."""
    unblind: bool = False
    """Open the code names when every trial is done."""


class Running(NamedTuple):
    """A robot that is up, its clock [s], and what runs a session on it to the end."""

    robot: TrialRobot
    clock: Callable[[], float]
    run: Callable[[Session], Iterator[int]]


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


@contextmanager
def in_process(plan: EvaluationPlan, folder: Path) -> Iterator[Running]:
    """The cell waits for the policy, and time passes as fast as it can."""
    robot = open_cell_trials(plan)
    try:
        yield Running(robot, robot.clock, lambda session: run_to_the_end(session, robot))
    finally:
        robot.close()


@contextmanager
def through_the_nodes(plan: EvaluationPlan, folder: Path) -> Iterator[Running]:
    """The running nodes, in real time; what they print goes to `nodes.log` beside the ledger."""
    require_ros()
    # Only where there is ROS.
    from sim2real.ros_cell_trials import cell_nodes, run_through_the_nodes

    bundles_of(plan)
    with cell_nodes(plan, folder / NODES_LOG) as (robot, graph):
        yield Running(robot, time.monotonic, lambda session: run_through_the_nodes(session, graph))


def main() -> int:
    """Run what is left of the plan and write the report."""
    options = tyro.cli(EvaluatePlan)
    plan = read_plan(options.plan)
    name = options.plan.stem + ("_nodes" if options.nodes else "")
    folder = options.out or Path("runs/evaluations") / name
    # Nothing is written before the plan is known to run here.
    with (through_the_nodes if options.nodes else in_process)(plan, folder) as running:
        record = open_record(folder, plan, lambda: provenance(plan))
        try:
            where = "through the nodes" if options.nodes else "in process"
            record.begin_session({"where": where, "at": _now()})
            session = Session(record, running.robot, clock=running.clock)
            columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
            with Progress(TextColumn("trials"), *columns) as progress:
                bar = progress.add_task("", total=len(record.trials), completed=len(record.finished))
                for _ in running.run(session):
                    progress.advance(bar)
            if options.unblind and not record.unblinded:
                record.look("names", _now())
            page = write_report(results(record), folder)
        finally:
            record.close()
    print(page)
    return 0


if __name__ == "__main__":
    run_main(main)
