"""What the tests of evaluations share: a plan, and a robot that does as it is told."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from dygro_ros.errors import NotAllowed
from dygro_ros.evaluation.plan import EvaluationPlan, PlannedTrial, PolicyPlan, TaskPlan, read_plan
from dygro_ros.evaluation.record import Outcome
from dygro_ros.evaluation.trial_robot import RobotStatus

SUCCESS, FAILURE = Outcome("success", 100), Outcome("failure", 0, "dropped", "slipped")
VALUES: dict[str, Any] = {
    "title": "A comparison",
    "robot": "sim",
    "seed": 3,
    "trials": 4,
    "countdown_s": 2,
    "policies": {"new": {"bundle": "bundles/new"}, "old": {"bundle": "bundles/new", "residual": False}},
    "tasks": {
        "place_empty_cup": {
            "instruction": "put the cup on the coaster",
            "time_limit_s": 20,
            "rubric": {50: "lifts the cup"},
        },
        "stack_bowls_two": {"instruction": "stack the bowls", "time_limit_s": 30},
    },
}


def plan_with(folder: Path, **changes: Any) -> EvaluationPlan:
    """Return the plan above with some fields changed."""
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(VALUES | changes))
    return read_plan(path)


@dataclass
class ObedientRobot:
    """A robot whose state the test sets."""

    state: RobotStatus = field(default_factory=lambda: RobotStatus(ready=True))
    calls: list[str] = field(default_factory=list)
    refusal: str = ""
    prepared: list[tuple[PlannedTrial, PolicyPlan]] = field(default_factory=list)
    recordings: list[Path] = field(default_factory=list)

    def prepare(self, trial: PlannedTrial, task: TaskPlan, policy: PolicyPlan) -> None:
        self.prepared.append((trial, policy))

    def begin(self, recording: Path) -> None:
        self.calls.append("begin")
        if self.refusal:
            raise NotAllowed(self.refusal)
        self.recordings.append(recording)

    def stop(self) -> None:
        self.calls.append("stop")

    def home(self) -> None:
        self.calls.append("home")
        self.state = replace(self.state, asks_home=False, ready=True)

    def reset(self) -> None:
        self.calls.append("reset")
        if self.refusal:
            raise NotAllowed(self.refusal)
        self.state = replace(self.state, stopped="", ready=True)

    def end(self) -> None:
        self.calls.append("end")

    def status(self) -> RobotStatus:
        return self.state
