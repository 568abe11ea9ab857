"""The record of one evaluation: what was planned, what happened, and who looked, in an append-only ledger.

Each event is on the disk before anything follows from it. A trial whose outcome is not in the ledger was not
run: a kill costs the attempt at hand, which stays in the record as interrupted. Knows no robot and no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from dygro_ros.errors import DataError, RunFolderError, UserError
from dygro_ros.evaluation.ledger import JsonLinesLedger
from dygro_ros.evaluation.plan import EvaluationPlan, PlannedTrial, plan_record, planned_trials
from dygro_ros.evaluation.seal import Seal, make_seal, open_names, read_seal

LEDGER_FILE, SEAL_FILE = "ledger.jsonl", "sealed.json"
LONGEST_NOTE = 2000
# Where nobody looked on who could say why.
NOT_TOLD = "not told"
Verdict = Literal["success", "partial", "failure"]


@dataclass(frozen=True)
class Outcome:
    """What an operator, or the simulation, says of a trial."""

    verdict: Verdict
    points: int
    """0 to 100: 100 for a success, 0 for a failure, the rubric's for a partial one."""
    failure: str = ""
    """Why it was no success, one of the plan's reasons or `NOT_TOLD`; empty for a success."""
    note: str = ""


@dataclass(frozen=True)
class TrialFacts:
    """What happened in a trial, whatever is said of it."""

    elapsed_s: float
    """From the first motion to the end [s]."""
    timed_out: bool = False
    intervened: bool = False
    """Whether the operator stopped it."""
    safety_stop: str = ""
    """Why the arms stopped by themselves; empty where they did not."""


@dataclass(frozen=True)
class FinishedTrial:
    """A trial with its outcome, after corrections."""

    trial: PlannedTrial
    attempt: int
    outcome: Outcome
    facts: TrialFacts
    corrections: int = 0
    """How often the outcome was changed afterwards."""


@dataclass(frozen=True)
class UnfinishedAttempt:
    """An attempt at a trial that counts for nothing, and why."""

    number: int
    attempt: int
    reason: str
    void: bool
    """Whether the operator declared it void; else a kill or a crash broke it off."""


def check_outcome(outcome: Outcome, plan: EvaluationPlan) -> Outcome:
    """Return the outcome, or refuse one that contradicts itself or the plan.

    Raises:
        UserError: Names the field, what was expected and what came.
    """
    if outcome.verdict not in get_args(Verdict):
        raise UserError(f"verdict must be one of {', '.join(get_args(Verdict))}, got {outcome.verdict!r}")
    low, high = {"success": (100, 100), "partial": (1, 99), "failure": (0, 0)}[outcome.verdict]
    if not low <= outcome.points <= high:
        wanted = str(low) if low == high else f"{low} to {high}"
        raise UserError(f"points of a {outcome.verdict} must be {wanted}, got {outcome.points}")
    if (outcome.failure != "") is (outcome.verdict == "success"):
        raise UserError(f"a {outcome.verdict} must have {'no' if outcome.failure else 'a'} failure reason")
    if outcome.failure and outcome.failure not in (*plan.failures, NOT_TOLD):
        raise UserError(f"failure must be one of {', '.join(plan.failures)}, got {outcome.failure!r}")
    if len(outcome.note) > LONGEST_NOTE:
        raise UserError(f"note must have at most {LONGEST_NOTE} characters, got {len(outcome.note)}")
    return outcome


class EvaluationRecord:
    """The ledger of one evaluation and what follows from it."""

    def __init__(self, folder: Path, plan: EvaluationPlan, ledger: JsonLinesLedger, seal: Seal) -> None:
        """Know them; use `open_record`."""
        self.folder, self.plan, self.seal = folder, plan, seal
        self.trials = planned_trials(plan, seal.codes)
        self._ledger = ledger
        self._by_number = {trial.number: trial for trial in self.trials}
        self.finished: dict[int, FinishedTrial] = {}
        self.unfinished: list[UnfinishedAttempt] = []
        self._open: tuple[int, int] | None = None
        self._attempts: dict[int, int] = {}
        self.looks: list[tuple[str, int]] = []
        """What was looked at (`report`, `names`), and after how many finished trials."""
        for number, event in enumerate(ledger.records, start=1):
            try:
                self._take(event)
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"{ledger.path}: line {number} is not an event of ours: {error!r}") from error

    @property
    def provenance(self) -> dict[str, Any]:
        """Return what was noted when the record was made: hashes, limits, commit, versions."""
        first = self._ledger.records[0]
        return {key: value for key, value in first.items() if key not in ("event", "plan", "seal")}

    @property
    def unblinded(self) -> bool:
        """Whether somebody has opened the names, or there was nothing to hide."""
        return not self.plan.sealed or any(what == "names" for what, _ in self.looks)

    @property
    def complete(self) -> bool:
        """Whether each trial has its outcome."""
        return len(self.finished) == len(self.trials)

    def next_trial(self) -> tuple[PlannedTrial, int] | None:
        """Return the trial to run next and which attempt it is, None after the last."""
        for trial in self.trials:
            if trial.number not in self.finished:
                return trial, self._attempts.get(trial.number, 0) + 1
        return None

    def begin_session(self, facts: Mapping[str, Any]) -> None:
        """Note who sits down to work with what; an attempt that was broken off before is closed."""
        if self._open is not None:
            number, attempt = self._open
            self._note({"event": "interrupted", "trial": number, "attempt": attempt})
        self._note({"event": "session", **facts})

    def start(self, trial: PlannedTrial, attempt: int, at: str) -> None:
        """Note that a trial begins."""
        self._note({"event": "started", "trial": trial.number, "attempt": attempt, "at": at})

    def finish(self, trial: PlannedTrial, attempt: int, outcome: Outcome, facts: TrialFacts, at: str) -> None:
        """Note a trial's outcome.

        Raises:
            UserError: The outcome does not fit the plan.
        """
        check_outcome(outcome, self.plan)
        self._note(
            {
                "event": "finished",
                "trial": trial.number,
                "attempt": attempt,
                "outcome": asdict(outcome),
                "facts": asdict(facts),
                "at": at,
            }
        )

    def void(self, trial: PlannedTrial, attempt: int, reason: str, at: str) -> None:
        """Note that an attempt counts for nothing; the same trial comes again.

        Raises:
            UserError: Without a reason.
        """
        if not reason.strip() or len(reason) > LONGEST_NOTE:
            raise UserError(f"a void trial must have a reason of 1 to {LONGEST_NOTE} characters")
        self._note(
            {"event": "void", "trial": trial.number, "attempt": attempt, "reason": reason.strip(), "at": at}
        )

    def correct(self, number: int, outcome: Outcome, at: str) -> None:
        """Change what was said of a finished trial; what was said before stays in the ledger.

        Raises:
            UserError: The trial has no outcome yet, or the new one does not fit the plan.
        """
        if number not in self.finished:
            raise UserError(f"trial {number} has no outcome to correct")
        check_outcome(outcome, self.plan)
        self._note({"event": "corrected", "trial": number, "outcome": asdict(outcome), "at": at})

    def look(self, what: Literal["report", "names"], at: str) -> None:
        """Note that somebody sees results, or who is behind the code names."""
        self._note({"event": "looked", "what": what, "finished": len(self.finished), "at": at})

    def close(self) -> None:
        """Let another process open it."""
        self._ledger.close()

    def _note(self, event: dict[str, Any]) -> None:
        self._ledger.append(event)
        self._take(event)

    def _take(self, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind in ("opened", "session"):
            return
        if kind == "looked":
            self.looks.append((str(event["what"]), int(event["finished"])))
            return
        number = int(event["trial"])
        trial = self._by_number[number]
        if kind == "corrected":
            before = self.finished[number]
            self.finished[number] = replace(
                before, outcome=Outcome(**event["outcome"]), corrections=before.corrections + 1
            )
            return
        attempt = int(event["attempt"])
        if kind == "started":
            self._open, self._attempts[number] = (number, attempt), attempt
            return
        self._open = None
        if kind == "finished":
            self.finished[number] = FinishedTrial(
                trial, attempt, Outcome(**event["outcome"]), TrialFacts(**event["facts"])
            )
        elif kind == "void":
            self._attempts[number] = attempt
            self.unfinished.append(UnfinishedAttempt(number, attempt, str(event["reason"]), True))
        elif kind == "interrupted":
            self.unfinished.append(UnfinishedAttempt(number, attempt, "interrupted", False))
        else:
            raise ValueError(f"unknown event {kind!r}")


def open_record(
    folder: Path, plan: EvaluationPlan, provenance: Callable[[], Mapping[str, Any]]
) -> EvaluationRecord:
    """Open an evaluation's record, or make it.

    Args:
        folder: Holds ledger, sealed names, recordings and report; made if it does not exist.
        plan: The plan; one that differs from the ledger's is refused.
        provenance: Asked once, when the record is made: bundles' hashes, limits, commit, versions.

    Raises:
        RunFolderError: Another process has it open, or it belongs to another plan.
        DataError: The ledger or the sealed file is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ledger = JsonLinesLedger(folder / LEDGER_FILE)
    try:
        if ledger.records:
            seal = _sealed(folder, plan, ledger.records[0])
        else:
            seal = open_names(tuple(plan.policies))
            if plan.sealed:
                # Without a first line in the ledger nobody has met these names yet.
                (folder / SEAL_FILE).unlink(missing_ok=True)
                seal = make_seal(folder / SEAL_FILE, tuple(plan.policies))
            ledger.append({"event": "opened", "plan": plan_record(plan), "seal": seal.digest, **provenance()})
        return EvaluationRecord(folder, plan, ledger, seal)
    except BaseException:
        ledger.close()
        raise


def _sealed(folder: Path, plan: EvaluationPlan, first: Mapping[str, Any]) -> Seal:
    where = folder / LEDGER_FILE
    if first.get("event") != "opened" or not isinstance(first.get("plan"), dict):
        raise DataError(f"{where}: line 1 must be the evaluation's opening")
    ours, theirs = plan_record(plan), first["plan"]
    for field in sorted({*ours, *theirs}):
        if ours.get(field) != theirs.get(field):
            raise RunFolderError(
                f"{where} was begun with another plan: {field} was {theirs.get(field)!r}, and is "
                f"{ours.get(field)!r}; go on with the old plan, or begin in another folder"
            )
    if not plan.sealed:
        return open_names(tuple(plan.policies))
    return read_seal(folder / SEAL_FILE, str(first.get("seal")))
