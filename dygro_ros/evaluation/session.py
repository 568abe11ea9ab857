"""One sitting of an evaluation: which trial is at hand, what the operator may do, and what the robot does.

    scene -> countdown -> running -> judging -> scene of the next trial ... -> finished

Pages and terminals send actions that name the trial they mean, so that what two of them send at once, or one
of them too late, is refused and not applied to another trial. Knows neither middleware nor web.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum

from dygro_ros.errors import NotAllowed, UserError
from dygro_ros.evaluation.plan import PlannedTrial, TaskPlan
from dygro_ros.evaluation.record import EvaluationRecord, Outcome, TrialFacts
from dygro_ros.evaluation.recording import recording_folder
from dygro_ros.evaluation.trial_robot import RobotStatus, TrialRobot


def wall_clock() -> str:
    """Return the time as the ledger has it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


class Phase(Enum):
    """What is going on."""

    SCENE = "scene"
    """The operator lays the objects as the reference picture shows them; the robot makes ready."""
    COUNTDOWN = "countdown"
    RUNNING = "running"
    JUDGING = "judging"
    FINISHED = "finished"
    """Each trial of the plan has its outcome."""


@dataclass(frozen=True)
class SessionView:
    """What a page shows."""

    phase: Phase
    trial: PlannedTrial | None
    attempt: int
    countdown_s: float
    """Left of the countdown [s]."""
    elapsed_s: float
    """Since the first motion of the trial at hand [s]."""
    facts: TrialFacts | None
    """Of the trial that is to be judged."""
    robot: RobotStatus
    message: str
    """What went wrong last; empty where nothing did."""
    finished: int
    trials: int


class Session:
    """The trial at hand. Any thread may call; `tick` must be called some twenty times a second."""

    def __init__(
        self,
        record: EvaluationRecord,
        robot: TrialRobot,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], str] = wall_clock,
    ) -> None:
        """Begin with the first trial that has no outcome.

        Args:
            record: Open.
            robot: Made ready for each trial here.
            clock: Monotonic clock [s].
            now: The wall clock, for the record.
        """
        self.record, self._robot = record, robot
        self._clock, self._now = clock, now
        self._lock = threading.RLock()
        self._message = ""
        self._facts: TrialFacts | None = None
        self._since_s = 0.0
        self._intervened = False
        self._next()

    def view(self) -> SessionView:
        """Return what a page shows."""
        with self._lock:
            now_s, phase = self._clock(), self._phase
            counting, running = phase is Phase.COUNTDOWN, phase is Phase.RUNNING
            return SessionView(
                phase=phase,
                trial=self._trial,
                attempt=self._attempt,
                countdown_s=max(self._since_s + self._plan_countdown_s - now_s, 0.0) if counting else 0.0,
                elapsed_s=now_s - self._since_s if running else self._facts.elapsed_s if self._facts else 0.0,
                facts=self._facts,
                robot=self._robot.status(),
                message=self._message,
                finished=len(self.record.finished),
                trials=len(self.record.trials),
            )

    def start(self, trial: int, attempt: int) -> None:
        """Begin the countdown: the scene is as the reference shows it.

        Raises:
            NotAllowed: Another trial is at hand, or the robot is not ready.
        """
        with self._lock:
            self._require("start", trial, attempt, Phase.SCENE)
            status = self._robot.status()
            if not status.ready:
                raise NotAllowed(f"the robot is not ready: {status.waits_for or 'no reason was given'}")
            self._message = ""
            self._phase, self._since_s = Phase.COUNTDOWN, self._clock()

    def prepare_again(self, trial: int, attempt: int) -> None:
        """Make ready for the trial at hand once more: after a fault was mended, or a scene was spoilt.

        Raises:
            NotAllowed: Another trial is at hand, or it has begun.
        """
        with self._lock:
            self._require("prepare", trial, attempt, Phase.SCENE)
            self._message = ""
            self._prepare()

    def home(self, trial: int, attempt: int) -> None:
        """Let the arms go home: their way is clear.

        Raises:
            NotAllowed: Another trial is at hand, or the arms do not ask for it.
        """
        with self._lock:
            self._require("go home for", trial, attempt, Phase.SCENE)
            if not self._robot.status().asks_home:
                raise NotAllowed("the arms do not wait to go home now")
            self._robot.home()

    def reset(self) -> None:
        """Leave a stop that the arms have latched; where a trial is to come, make ready for it again.

        Raises:
            NotAllowed: A trial runs, or the robot refuses.
            UserError: The robot does not answer.
        """
        with self._lock:
            if self._phase in (Phase.COUNTDOWN, Phase.RUNNING):
                raise NotAllowed(f"cannot reset the arms now: the trial is in phase {self._phase.value}")
            self._robot.reset()
            self._message = ""
            if self._phase is Phase.SCENE:
                self._prepare()

    def stop(self) -> None:
        """Bring the arms to rest at once; a trial that runs goes on to its judgement."""
        # First of all, and whoever holds the lock: nothing may come before the arms.
        self._robot.stop()
        with self._lock:
            if self._phase is Phase.COUNTDOWN:
                self._phase, self._message = Phase.SCENE, "stopped before the robot moved"
            elif self._phase is Phase.RUNNING:
                self._intervened = True
                self._end()

    def end(self, trial: int, attempt: int) -> None:
        """End the trial at hand: what there was to see has been seen.

        Raises:
            NotAllowed: Another trial is at hand, or none runs.
        """
        with self._lock:
            self._require("end", trial, attempt, Phase.RUNNING)
            self._end()

    def judge(self, trial: int, attempt: int, outcome: Outcome) -> None:
        """Record the outcome, and make ready for the next trial.

        Raises:
            NotAllowed: Another trial is at hand, or it has not ended.
            UserError: The outcome does not fit the plan, or cannot be written: judge again.
        """
        with self._lock:
            current = self._require("judge", trial, attempt, Phase.JUDGING)
            assert self._facts is not None
            self.record.finish(current, attempt, outcome, self._facts, self._now())
            self._message = ""
            self._next()

    def void(self, trial: int, attempt: int, reason: str) -> None:
        """Record that the attempt counts for nothing, for a fault of the hardware; the trial comes again.

        Raises:
            NotAllowed: Another trial is at hand, or it has not been run.
            UserError: Without a reason, or it cannot be written.
        """
        with self._lock:
            current = self._require("void", trial, attempt, Phase.JUDGING)
            self.record.void(current, attempt, reason, self._now())
            self._message = ""
            self._next()

    def correct(self, trial: int, outcome: Outcome) -> None:
        """Change what was said of an earlier trial; the ledger keeps both.

        Raises:
            UserError: The trial has no outcome yet, or the new one does not fit the plan.
        """
        with self._lock:
            self.record.correct(trial, outcome, self._now())

    def tick(self) -> None:
        """Go on where time or the robot says so."""
        with self._lock:
            if self._phase is Phase.COUNTDOWN:
                self._count_down()
            elif self._phase is Phase.RUNNING:
                self._watch()

    def close(self) -> None:
        """Bring the arms to rest; a trial that runs stays in the record as interrupted."""
        self._robot.stop()
        with self._lock:
            if self._phase is Phase.RUNNING:
                self._robot.end()
            self._phase = Phase.FINISHED

    @property
    def _plan_countdown_s(self) -> float:
        return self.record.plan.countdown_s

    @property
    def _task(self) -> TaskPlan:
        assert self._trial is not None
        return self.record.plan.tasks[self._trial.task]

    def _count_down(self) -> None:
        status = self._robot.status()
        if not status.ready:
            self._phase = Phase.SCENE
            self._message = f"the robot is no longer ready: {status.waits_for or 'no reason was given'}"
            return
        if self._clock() - self._since_s < self._plan_countdown_s:
            return
        trial, attempt = self._trial, self._attempt
        assert trial is not None
        try:
            self.record.start(trial, attempt, self._now())
        except UserError as error:
            self._phase, self._message = Phase.SCENE, str(error)
            return
        try:
            self._robot.begin(recording_folder(self.record.folder, trial.number, attempt))
        except UserError as error:
            reason = f"did not begin: {error}"
            try:
                self.record.void(trial, attempt, reason, self._now())
                self._next()
            except UserError as unwritten:
                self._phase, reason = Phase.SCENE, f"{reason}; {unwritten}"
            self._message = f"trial {trial.number} {reason}"
            return
        self._phase, self._since_s, self._intervened = Phase.RUNNING, self._clock(), False

    def _watch(self) -> None:
        status = self._robot.status()
        if status.stopped or status.over:
            # What a simulation ends without success has run into its own limit.
            self._end(timed_out=status.succeeded is False, safety_stop=status.stopped)
        elif self._clock() - self._since_s >= self._task.time_limit_s:
            self._end(timed_out=True)

    def _end(self, *, timed_out: bool = False, safety_stop: str = "") -> None:
        elapsed_s = self._clock() - self._since_s
        self._facts = TrialFacts(round(elapsed_s, 3), timed_out, self._intervened, safety_stop)
        self._phase = Phase.JUDGING
        try:
            self._robot.end()
        except UserError as error:
            self._message = f"the recording is not complete: {error}"

    def _next(self) -> None:
        found = self.record.next_trial()
        self._facts = None
        if found is None:
            self._trial, self._attempt, self._phase = None, 0, Phase.FINISHED
            return
        self._trial, self._attempt = found
        self._phase = Phase.SCENE
        self._prepare()

    def _prepare(self) -> None:
        assert self._trial is not None
        policy = self.record.plan.policies[self.record.seal.policy(self._trial.code)]
        self._robot.prepare(self._trial, self._task, policy)

    def _require(self, what: str, trial: int, attempt: int, phase: Phase) -> PlannedTrial:
        current = self._trial
        if current is None:
            raise NotAllowed(f"cannot {what}: each trial has its outcome")
        if (trial, attempt) != (current.number, self._attempt):
            raise NotAllowed(
                f"cannot {what} trial {trial}, attempt {attempt}: trial {current.number}, attempt "
                f"{self._attempt}, is at hand"
            )
        if self._phase is not phase:
            raise NotAllowed(f"cannot {what} trial {trial} now: it is in phase {self._phase.value}")
        return current
