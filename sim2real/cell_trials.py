"""The simulated cell as the robot of an evaluation, in this process: it waits for the policy.

Its clock counts the cell's control steps, so that time limits mean what they mean on a robot, however fast
the machine is. Writes no recording: an episode follows from its task, seed and policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dygro_ros.bundle import Bundle, read_bundle
from dygro_ros.errors import NotAllowed, UserError, unknown_name
from dygro_ros.evaluation.plan import EvaluationPlan, PlannedTrial, PolicyPlan, TaskPlan
from dygro_ros.evaluation.record import NOT_TOLD, Outcome
from dygro_ros.evaluation.session import Phase, Session
from dygro_ros.evaluation.trial_robot import RobotStatus
from dygro_ros.inference import OnnxPolicy
from dygro_ros.layout import CONTROL_RATE_HZ
from sim2real.bundle_episodes import Cell, Policy, cell_for, require_same_cameras
from sim2real.cell.randomization import RandomizationConfig
from sim2real.cell.work_cell import TASKS
from sim2real.seeds import SeedPurpose, seeds_for


def scene_seed(plan: EvaluationPlan, scene: int) -> int:
    """Return the simulator's seed of a scene: the evaluation seeds, which no training may use."""
    if plan.simulation is None:
        raise UserError("the plan needs a section simulation: its scenes are laid by the simulated cell")
    return seeds_for(SeedPurpose.EVALUATION, plan.simulation.evaluation_seed, scene, 1)[0]


class CellTrials:
    """One cell, and the policies of a plan."""

    def __init__(self, plan: EvaluationPlan, cell: Cell, policies: dict[Path, Policy]) -> None:
        """Know them; `open_cell_trials` makes them."""
        self._plan, self._cell, self._policies = plan, cell, policies
        self._steps = 0
        self._ready = False
        self._running: Iterator[NDArray[np.float32]] | None = None

    def prepare(self, trial: PlannedTrial, task: TaskPlan, policy: PolicyPlan) -> None:
        """Lay the objects of the trial's scene."""
        self._cell.reset(trial.task, scene_seed(self._plan, trial.scene))
        self._instruction = task.instruction or self._cell.instruction
        self._policy, self._residual = self._policies[policy.bundle], policy.residual
        self._ready, self._running = True, None

    def begin(self, recording: Path) -> None:
        """Let the policy move the arms, as `advance` asks for it."""
        if not self._ready:
            raise NotAllowed("begin needs a prepared trial")
        self._running = self._actions()

    def stop(self) -> None:
        """Move no more."""
        self._running = None

    def home(self) -> None:
        """Wait for nothing: each scene begins with the arms at home."""

    def reset(self) -> None:
        """Latch nothing."""

    def end(self) -> None:
        """Move no more."""
        self._running = None

    def status(self) -> RobotStatus:
        """Return how the episode stands."""
        if not self._ready:  # a cell has no episode before its first reset
            return RobotStatus(waits_for="no trial has been prepared")
        over = self._cell.succeeded or self._cell.step_count >= self._cell.step_limit
        return RobotStatus(
            ready=self._ready,
            running=self._running is not None,
            over=over,
            succeeded=bool(self._cell.succeeded),
        )

    def clock(self) -> float:
        """Return simulated time [s]."""
        return self._steps / CONTROL_RATE_HZ

    def advance(self) -> None:
        """Let one control step pass."""
        self._steps += 1
        if self._running is not None:
            self._cell.step(next(self._running))

    def close(self) -> None:
        """Release the renderer."""
        self._cell.close()

    def _actions(self) -> Iterator[NDArray[np.float32]]:
        """Yield the actions of one chunk after the other, each chunk played whole."""
        while True:
            answer = self._policy.infer(self._cell.images(), self._instruction, self._cell.proprio())
            yield from answer.chunk if self._residual else answer.base_chunk


def bundles_of(plan: EvaluationPlan) -> dict[Path, Bundle]:
    """Return every bundle of a plan that the simulated cell can run, by its folder.

    Raises:
        UserError: A task is not one of the cell's, or the plan has no section simulation.
        BundleError: A bundle is missing or damaged, or sees other pictures than the others.
    """
    for task in plan.tasks:
        if task not in TASKS:
            raise unknown_name("task", task, list(TASKS), "tasks")
    scene_seed(plan, plan.trials - 1)
    bundles = {policy.bundle: read_bundle(policy.bundle) for policy in plan.policies.values()}
    require_same_cameras(tuple(bundles.values()))
    return bundles


def open_cell_trials(plan: EvaluationPlan) -> CellTrials:
    """Return the cell with every bundle of the plan loaded.

    Raises:
        UserError: As `bundles_of`.
        BundleError: As `bundles_of`, or a bundle does not see what the cell shows.
    """
    bundles = bundles_of(plan)
    assert plan.simulation is not None
    randomization = RandomizationConfig.from_name(plan.simulation.randomization)
    cell = cell_for(next(iter(bundles.values())), randomization, plan.simulation.instructions)
    return CellTrials(plan, cell, {path: OnnxPolicy(bundle) for path, bundle in bundles.items()})


def run_to_the_end(session: Session, robot: CellTrials) -> Iterator[int]:
    """Run every trial that is left, judged by the tasks' own success checks; yield each one's number."""
    while (view := session.view()).phase is not Phase.FINISHED:
        assert view.trial is not None
        number, attempt = view.trial.number, view.attempt
        if view.phase is Phase.SCENE:
            session.start(number, attempt)
        elif view.phase is Phase.JUDGING:
            won = view.robot.succeeded
            outcome = Outcome("success", 100) if won else Outcome("failure", 0, NOT_TOLD)
            session.judge(number, attempt, outcome)
            yield number
            continue
        else:
            robot.advance()
        session.tick()
