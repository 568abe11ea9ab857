"""A sitting in a plain terminal: one line a command, and what changes is told as it changes.

Enter                 the scene is laid: start; while the arms move: STOP
e                     end the trial: there is nothing more to see
s [note]              success
p POINTS WHY [note]   partial, 1 to 99 points
f WHY [note]          failure; WHY is a reason's number
v REASON              hardware fault: the attempt is void and comes again
c TRIAL s|p|f ...     correct an earlier trial
h                     the arms' way is clear: they go home
r                     after a stop: reset it
a                     prepare the trial at hand again
report                write the report; before the end the ledger notes that somebody looked
?                     show this
q                     leave; the same command goes on later
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable

from dygro_ros.errors import UserError
from dygro_ros.evaluation.plan import TaskPlan, reference_picture
from dygro_ros.evaluation.record import Outcome
from dygro_ros.evaluation.session import Phase, SessionView
from dygro_ros.evaluation.sitting import Sitting

LOOK_S = 0.1
HELP = (__doc__ or "").partition("\n\n")[2].rstrip()
MOVING = (Phase.COUNTDOWN, Phase.RUNNING)


class Terminal:
    """Obeys lines, and tells what happens."""

    def __init__(self, sitting: Sitting, say: Callable[[str], None]) -> None:
        """Know the sitting.

        Args:
            sitting: What is shown and asked.
            say: Shows a line.
        """
        self._sitting, self._say = sitting, say
        self._told: tuple[str, ...] = ()
        self._ends = threading.Event()

    def run(self, lines: Iterable[str]) -> None:
        """Obey each line until `q` or the end of the input, and tell what happens meanwhile."""
        self._say(HELP + "\n")
        telling = threading.Thread(target=self._tell_on, name="terminal", daemon=True)
        telling.start()
        try:
            for line in lines:
                if line.strip() == "q":
                    return
                try:
                    self.obey(line.strip())
                except UserError as error:
                    self._say(f"error: {error}")
        finally:
            self._ends.set()
            telling.join()

    def obey(self, line: str) -> None:
        """Do what one line says.

        Raises:
            UserError: It is no command, does not fit, or is not possible now.
        """
        session = self._sitting.session
        # Before anything else, and whatever the line holds.
        moving = session.view().phase in MOVING
        if moving and line != "e":
            session.stop()
            return
        view = session.view()
        order, _, rest = line.partition(" ")
        if order == "?":
            self._say(HELP)
        elif order == "r":
            session.reset()
        elif order == "report":
            self._say(str(self._sitting.report()))
        elif order == "c":
            number, _, outcome = rest.strip().partition(" ")
            session.correct(_number(number, "TRIAL"), self._outcome(outcome))
            self._say(f"corrected trial {number}")
        elif view.trial is None:
            raise UserError("each trial has its outcome: c corrects one, report writes the report, q leaves")
        elif order in ("", "a", "e", "h"):
            actions = {
                "": session.start,
                "a": session.prepare_again,
                "e": session.end,
                "h": session.home,
            }
            actions[order](view.trial.number, view.attempt)
        elif order == "v":
            session.void(view.trial.number, view.attempt, rest)
        else:
            session.judge(view.trial.number, view.attempt, self._outcome(line))

    def tell(self) -> None:
        """Say what has changed since the last call."""
        lines = self._lines(self._sitting.session.view())
        for line in lines:
            if line not in self._told:
                self._say(line)
        self._told = lines

    def _tell_on(self) -> None:
        while not self._ends.wait(LOOK_S):
            self.tell()

    def _lines(self, view: SessionView) -> tuple[str, ...]:
        # Of an arm that is silent one wants to know at once; of the policy's warm-up, never.
        sick = [f"! {name}: {text or level}" for name, level, text in view.robot.health if level == "error"]
        stopped = [f"! the arms have stopped: {view.robot.stopped}; r resets"] if view.robot.stopped else []
        message = [f"! {view.message}"] if view.message else []
        return (*sick, *self._phase_lines(view), *stopped, *message)

    def _phase_lines(self, view: SessionView) -> list[str]:
        if view.trial is None:
            return [f"each of {view.trials} trials has its outcome: report, c or q"]
        task = self._task(view)
        again = f", attempt {view.attempt}" if view.attempt > 1 else ""
        name = f"trial {view.trial.number} of {view.trials}{again}"
        if view.phase is Phase.SCENE:
            head = f"\n{name}: {task.instruction or view.trial.task}; scene {view.trial.scene + 1}"
            picture = reference_picture(task, view.trial.scene)
            if view.robot.ready:
                return [
                    head,
                    "ready: lay the objects" + (f" as in {picture}" if picture else "") + ", then Enter",
                ]
            asked = "; h gives it" if view.robot.asks_home else ""
            return [head, f"{name} waits for: {view.robot.waits_for}{asked}"]
        if view.phase is Phase.COUNTDOWN:
            return [f"{name} begins in {math.ceil(view.countdown_s)} s; Enter stops"]
        if view.phase is Phase.RUNNING:
            return [f"{name} runs for at most {task.time_limit_s:g} s; Enter STOPS, e ends"]
        assert view.facts is not None
        how = [
            "time was up" if view.facts.timed_out else "",
            "stopped by the operator" if view.facts.intervened else "",
            f"stopped by itself: {view.facts.safety_stop}" if view.facts.safety_stop else "",
        ]
        told = "; ".join([f"{name} ended after {view.facts.elapsed_s:.1f} s", *filter(None, how)])
        reasons = ", ".join(f"{i} {reason}" for i, reason in enumerate(self._failures, start=1))
        rubric = "; ".join(f"{points} {text}" for points, text in sorted(task.rubric.items()))
        return [told, "outcome: s, p POINTS WHY, f WHY or v REASON", f"why: {reasons}"] + (
            [f"points: {rubric}"] if rubric else []
        )

    @property
    def _failures(self) -> tuple[str, ...]:
        return self._sitting.session.record.plan.failures

    def _task(self, view: SessionView) -> TaskPlan:
        assert view.trial is not None
        return self._sitting.session.record.plan.tasks[view.trial.task]

    def _outcome(self, text: str) -> Outcome:
        order, _, rest = text.strip().partition(" ")
        rest = rest.strip()
        if order == "s":
            return Outcome("success", 100, note=rest)
        if order not in ("p", "f"):
            raise UserError(f"expected s, p, f or another command, got {text[:40]!r}; ? shows them")
        points = 0
        if order == "p":
            first, _, rest = rest.partition(" ")
            points = _number(first, "POINTS")
        first, _, note = rest.strip().partition(" ")
        number = _number(first, "WHY")
        if not 1 <= number <= len(self._failures):
            raise UserError(f"WHY must be 1 to {len(self._failures)}, got {number}")
        reason = self._failures[number - 1]
        return Outcome("partial" if order == "p" else "failure", points, reason, note.strip())


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise UserError(f"{name} must be a number, got {text[:40]!r}; ? shows the commands")
    return int(text)
