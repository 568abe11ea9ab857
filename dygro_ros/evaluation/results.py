"""What the trials of an evaluation show: rates with intervals, and whether two policies can be told apart.

Takes a record and returns plain values; the names are the code names until the record is unblinded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import combinations
from statistics import fmean
from typing import Any

from dygro_ros.evaluation.record import EvaluationRecord, FinishedTrial
from dygro_ros.evaluation.recording import VIDEO_FILE, recording_folder
from dygro_ros.evaluation.statistics import (
    Interval,
    barnard_p_value,
    clopper_pearson_interval,
    newcombe_interval,
    paired_difference,
    wilson_interval,
)

SIGNIFICANT = 0.05
ALL = "all tasks"


@dataclass(frozen=True)
class Rate:
    """One policy in one task, or in all."""

    policy: str
    task: str
    trials: int
    successes: int
    wilson: Interval
    exact: Interval
    """Clopper and Pearson's."""
    mean_points: float
    """0 to 100: partial successes by their rubric."""
    mean_elapsed_s: float
    """Of the trials that succeeded [s]; 0 where none did."""
    timed_out: int
    interventions: int
    safety_stops: int
    failures: dict[str, int]
    """How often each reason was given."""


@dataclass(frozen=True)
class Comparison:
    """Two policies in one task, or in all."""

    task: str
    first: str
    second: str
    trials: int
    """Of each."""
    difference: float
    """Success rate of the first less that of the second, in [-1, 1]."""
    interval: Interval
    """95 %."""
    p_value: float
    test: str
    distinguishable: bool
    """Whether p < 0.05."""


def rates(finished: Iterable[FinishedTrial], policies: Sequence[str], tasks: Sequence[str]) -> list[Rate]:
    """Return each policy's rate in each task, then in all; cells without a trial are left out."""
    trials = list(finished)
    found = []
    for task in (*tasks, ALL):
        for policy in policies:
            of_policy = [t for t in trials if t.trial.code == policy and task in (t.trial.task, ALL)]
            if of_policy and not (task == ALL and len(tasks) == 1):
                found.append(_rate(of_policy, policy, task))
    return found


def _rate(trials: Sequence[FinishedTrial], policy: str, task: str) -> Rate:
    won = [trial for trial in trials if trial.outcome.verdict == "success"]
    reasons = [trial.outcome.failure for trial in trials if trial.outcome.failure]
    return Rate(
        policy=policy,
        task=task,
        trials=len(trials),
        successes=len(won),
        wilson=wilson_interval(len(won), len(trials)),
        exact=clopper_pearson_interval(len(won), len(trials)),
        mean_points=fmean(trial.outcome.points for trial in trials),
        mean_elapsed_s=fmean(trial.facts.elapsed_s for trial in won) if won else 0.0,
        timed_out=sum(trial.facts.timed_out for trial in trials),
        interventions=sum(trial.facts.intervened for trial in trials),
        safety_stops=sum(trial.facts.safety_stop != "" for trial in trials),
        failures={reason: reasons.count(reason) for reason in sorted(set(reasons))},
    )


def comparisons(
    finished: Iterable[FinishedTrial],
    policies: Sequence[str],
    tasks: Sequence[str],
    *,
    paired: Sequence[str],
) -> list[Comparison]:
    """Compare each two policies in each task and in all.

    Args:
        finished: The trials.
        policies: Names, in the order of the table.
        tasks: Names.
        paired: The tasks whose scenes are the same for each policy: there McNemar's test counts the scenes on
            which they disagree; elsewhere, and over all tasks unless all are paired, Barnard's.
    """
    trials = list(finished)
    found = []
    for task in (*tasks, ALL) if len(tasks) > 1 else tasks:
        matched = task in paired if task != ALL else set(tasks) <= set(paired)
        for first, second in combinations(policies, 2):
            sides = [
                {
                    (t.trial.task, t.trial.scene): t.outcome.verdict == "success"
                    for t in trials
                    if t.trial.code == policy and task in (t.trial.task, ALL)
                }
                for policy in (first, second)
            ]
            # A sitting that is broken off leaves a scene that one has met and the other has not.
            both = sorted(sides[0].keys() & sides[1].keys())
            if both:
                outcomes = [[side[scene] for scene in both] for side in sides]
                found.append(_compared(task, first, second, outcomes[0], outcomes[1], matched))
    return found


def _compared(
    task: str, first: str, second: str, ours: Sequence[bool], theirs: Sequence[bool], matched: bool
) -> Comparison:
    count = len(ours)
    if matched:
        pair = paired_difference(ours, theirs)
        difference, interval, p_value, test = pair.difference, pair.interval, pair.p_value, "McNemar"
    else:
        difference = (sum(ours) - sum(theirs)) / count
        interval = newcombe_interval(sum(ours), count, sum(theirs), count)
        p_value, test = barnard_p_value(sum(ours), count, sum(theirs), count), "Barnard"
    distinguishable = p_value < SIGNIFICANT
    return Comparison(task, first, second, count, difference, interval, p_value, test, distinguishable)


@lru_cache(maxsize=64)
def smallest_difference(trials: int, baseline: int) -> int | None:
    """Return by how many successes a policy must lead another's `baseline` of `trials`, Barnard's p < 0.05.

    None where not even success in each trial is enough.
    """
    for successes in range(baseline + 1, trials + 1):
        if barnard_p_value(successes, trials, baseline, trials) < SIGNIFICANT:
            return successes - baseline
    return None


def resolution(trials: int) -> tuple[float, float]:
    """Return the smallest and the largest lead that so many trials can show, over middling baselines.

    In [0, 1], over baselines from 30 to 70 % of the trials.

    Raises:
        ValueError: So few trials cannot show any lead over one of them.
    """
    leads = [
        smallest_difference(trials, baseline)
        for baseline in range(round(0.3 * trials), round(0.7 * trials) + 1)
    ]
    known = [lead / trials for lead in leads if lead is not None]
    if len(known) < len(leads):
        raise ValueError(f"{trials} trials cannot show a lead over each middling baseline")
    return min(known), max(known)


def results(record: EvaluationRecord) -> dict[str, Any]:
    """Return everything that the report shows, as plain JSON values.

    Results follow from the finished trials alone; what else happened is under `record`.
    """
    plan = record.plan
    shown = {code: record.seal.policy(code) if record.unblinded else code for code in record.seal.codes}
    # By name once they are known: the order of the code names would not be the plan's.
    order = [n for n in plan.policies if n in shown.values()] if record.unblinded else list(shown.values())
    finished = [_named(trial, shown) for _, trial in sorted(record.finished.items())]
    tasks = list(plan.tasks)
    return {
        "title": plan.title,
        "robot": plan.robot,
        "simulated": plan.simulation is not None,
        "trials_each": plan.trials,
        "policies": order,
        "tasks": tasks,
        "planned": len(record.trials),
        "finished": len(finished),
        "unblinded": record.unblinded,
        "rates": [asdict(rate) for rate in rates(finished, order, tasks)],
        "comparisons": [asdict(c) for c in comparisons(finished, order, tasks, paired=plan.paired)],
        "trials": [_without_attempt(trial) for trial in finished],
        "record": {
            "provenance": record.provenance,
            "attempts": {str(trial.trial.number): trial.attempt for trial in finished},
            "videos": _videos(record),
            "unfinished": [asdict(attempt) for attempt in record.unfinished],
            "looks": [{"what": what, "finished": count} for what, count in record.looks],
        },
    }


def _videos(record: EvaluationRecord) -> dict[str, str]:
    """Return each filmed trial's video, relative to the report's folder."""
    found = {}
    for number, done in sorted(record.finished.items()):
        path = recording_folder(record.folder, number, done.attempt) / VIDEO_FILE
        if path.exists():
            found[str(number)] = path.relative_to(record.folder).as_posix()
    return found


def _without_attempt(trial: FinishedTrial) -> dict[str, Any]:
    """Return a trial as JSON values; how often it had to be begun belongs to the record."""
    values = asdict(trial)
    del values["attempt"]
    return values


def _named(trial: FinishedTrial, shown: dict[str, str]) -> FinishedTrial:
    return replace(trial, trial=replace(trial.trial, code=shown[trial.trial.code]))
