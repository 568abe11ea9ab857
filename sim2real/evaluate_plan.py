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
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import tyro
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dygro_ros.errors import UserError, run_main
from dygro_ros.evaluation.conduct import PORT, Page, close_sitting, opened, sit, unblind
from dygro_ros.evaluation.live_picture import LivePicture
from dygro_ros.evaluation.plan import EvaluationPlan, read_plan
from dygro_ros.evaluation.record import EvaluationRecord
from dygro_ros.evaluation.session import Session, wall_clock
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
    operator: Literal["none", "terminal", "web"] = "none"
    """Through the nodes: a person judges, in the terminal or on a page, in place of the tasks' own checks."""
    port: int = PORT
    """Of the page; 0 takes any that is free."""
    unblind: bool = False
    """Open the code names when every trial is done."""


class Running(NamedTuple):
    """A robot that is up, its clock [s], and what runs a session on it to the end."""

    where: str
    robot: TrialRobot
    clock: Callable[[], float]
    run: Callable[[Session], Iterator[int]]
    picture: LivePicture
    """What its head camera sees, where it has one in real time."""


@contextmanager
def in_process(plan: EvaluationPlan, folder: Path) -> Iterator[Running]:
    """The cell waits for the policy, and time passes as fast as it can."""
    robot = open_cell_trials(plan)
    try:
        run = partial(run_to_the_end, robot=robot)
        yield Running("in process", robot, robot.clock, run, LivePicture())
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
        run = partial(run_through_the_nodes, graph=graph)
        yield Running("through the nodes", robot, time.monotonic, run, robot.picture)


def run_unattended(record: EvaluationRecord, running: Running) -> None:
    """Run every trial that is left, with a progress bar."""
    record.begin_session({"where": running.where, "at": wall_clock()})
    session = Session(record, running.robot, clock=running.clock)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(TextColumn("trials"), *columns) as progress:
        bar = progress.add_task("", total=len(record.trials), completed=len(record.finished))
        for _ in running.run(session):
            progress.advance(bar)


def main() -> int:
    """Run what is left of the plan and write the report."""
    options = tyro.cli(EvaluatePlan)
    plan = read_plan(options.plan)
    if options.operator != "none" and not options.nodes:
        raise UserError(
            f"--operator {options.operator} needs --nodes: in process nothing happens in real time"
        )
    name = options.plan.stem + ("_nodes" if options.nodes else "")
    folder = options.out or Path("runs/evaluations") / name
    # Nothing is written before the plan is known to run here.
    robot = (through_the_nodes if options.nodes else in_process)(plan, folder)
    with robot as running, opened(plan, folder) as record:
        if options.operator == "none":
            run_unattended(record, running)
        else:
            page = Page(port=options.port) if options.operator == "web" else None
            sit(record, running.robot, running.picture, page)
        print(unblind(record) if options.unblind and record.complete else close_sitting(record))
    return 0


if __name__ == "__main__":
    run_main(main)
