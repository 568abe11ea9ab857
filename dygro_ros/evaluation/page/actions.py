"""What a page may ask of a sitting: checked at the edge, then done by the session."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dygro_ros.evaluation.record import LONGEST_NOTE, Outcome, Verdict
from dygro_ros.evaluation.session import Session

Number = Annotated[int, Field(ge=1, le=1_000_000)]
Note = Annotated[str, Field(max_length=LONGEST_NOTE)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _OfTrial(_Message):
    trial: Number
    attempt: Number
    """Which trial the page shows: what is meant for another one is refused."""


class _WithOutcome(_Message):
    verdict: Verdict
    points: Annotated[int, Field(ge=0, le=100)]
    failure: Note = ""
    note: Note = ""

    def outcome(self) -> Outcome:
        return Outcome(self.verdict, self.points, self.failure, self.note.strip())


class Start(_OfTrial):
    """The scene is laid: begin the countdown."""

    action: Literal["start"]


class Home(_OfTrial):
    """The arms' way home is clear."""

    action: Literal["home"]


class PrepareAgain(_OfTrial):
    """Make ready once more."""

    action: Literal["prepare"]


class End(_OfTrial):
    """What there was to see has been seen."""

    action: Literal["end"]


class Judge(_OfTrial, _WithOutcome):
    """The outcome of the trial at hand."""

    action: Literal["judge"]


class Void(_OfTrial):
    """The attempt counts for nothing."""

    action: Literal["void"]
    reason: Note


class Correct(_WithOutcome):
    """Another outcome of an earlier trial."""

    action: Literal["correct"]
    trial: Number


class Reset(_Message):
    """Leave a stop that the arms have latched."""

    action: Literal["reset"]


Action = Annotated[
    Start | Home | PrepareAgain | End | Judge | Void | Correct | Reset, Field(discriminator="action")
]


def perform(session: Session, action: Action) -> None:
    """Do what a page asks.

    Raises:
        NotAllowed: Not now, or another trial is at hand.
        UserError: It does not fit the plan, or cannot be written.
    """
    match action:
        case Start():
            session.start(action.trial, action.attempt)
        case Home():
            session.home(action.trial, action.attempt)
        case PrepareAgain():
            session.prepare_again(action.trial, action.attempt)
        case End():
            session.end(action.trial, action.attempt)
        case Judge():
            session.judge(action.trial, action.attempt, action.outcome())
        case Void():
            session.void(action.trial, action.attempt, action.reason)
        case Correct():
            session.correct(action.trial, action.outcome())
        case Reset():
            session.reset()
