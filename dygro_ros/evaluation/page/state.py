"""What a page shows, as plain values: everything but the names behind the code names, and the code names.

Whoever judges needs to know neither; the report has the code names.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dygro_ros.evaluation.plan import PlannedTrial, reference_picture
from dygro_ros.evaluation.session import Session

# A picture older than this is said to be old [s].
OLD_PICTURE_S = 1.0


def page_state(session: Session, picture_age_s: float | None) -> dict[str, Any]:
    """Return the sitting as JSON values.

    Args:
        session: The sitting.
        picture_age_s: Age of the camera's newest picture [s]; None where none has come.
    """
    view, record = session.view(), session.record
    return {
        "title": record.plan.title,
        "phase": view.phase.value,
        "trial": None if view.trial is None else _trial(session, view.trial, view.attempt),
        "countdown_s": round(view.countdown_s, 1),
        "elapsed_s": round(view.elapsed_s, 1),
        "facts": None if view.facts is None else asdict(view.facts),
        "robot": {
            "ready": view.robot.ready,
            "asks_home": view.robot.asks_home,
            "waits_for": view.robot.waits_for,
            "running": view.robot.running,
            "stopped": view.robot.stopped,
        },
        "health": [list(part) for part in view.robot.health],
        "picture_age_s": _age(picture_age_s),
        "message": view.message,
        "finished": view.finished,
        "trials": view.trials,
        "lays_itself": record.plan.simulation is not None,
        "failures": list(record.plan.failures),
        "judged": [
            {"number": number, "task": done.trial.task, **asdict(done.outcome)}
            for number, done in sorted(record.finished.items())
        ],
    }


def _trial(session: Session, trial: PlannedTrial, attempt: int) -> dict[str, Any]:
    task = session.record.plan.tasks[trial.task]
    return {
        "number": trial.number,
        "attempt": attempt,
        "task": trial.task,
        "scene": trial.scene + 1,
        "instruction": task.instruction or "",
        "time_limit_s": task.time_limit_s,
        "rubric": sorted(task.rubric.items()),
        "reference": reference_picture(task, trial.scene) is not None,
    }


def _age(age_s: float | None) -> float | None:
    """Return an age that does not change with each picture."""
    if age_s is None:
        return None
    return 0.0 if age_s < OLD_PICTURE_S else float(round(age_s))
