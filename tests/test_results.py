"""What an evaluation's trials show, held against published and computed values."""

import json
from pathlib import Path

import numpy as np
import pytest
from evaluation_fixtures import FAILURE, SUCCESS, plan_with
from scipy import stats

from dygro_ros.evaluation.plan import PlannedTrial
from dygro_ros.evaluation.record import FinishedTrial, Outcome, TrialFacts, open_record
from dygro_ros.evaluation.results import (
    ALL,
    comparisons,
    rates,
    resolution,
    results,
    smallest_difference,
)
from dygro_ros.evaluation.statistics import barnard_p_value, clopper_pearson_interval, newcombe_interval

AT = "2026-01-01T00:00:00.000+00:00"


def trials(code: str, task: str, successes: int, count: int = 20) -> list[FinishedTrial]:
    return [
        FinishedTrial(
            PlannedTrial(scene + 1, task, scene, code),
            1,
            SUCCESS if scene < successes else FAILURE,
            TrialFacts(float(scene), timed_out=scene >= successes),
        )
        for scene in range(count)
    ]


def test_a_rate_has_both_intervals_and_counts_everything() -> None:
    [rate] = rates(trials("amber", "cup", 16), ["amber"], ["cup"])
    assert rate.wilson == pytest.approx((0.584, 0.919), abs=5e-4)
    assert rate.exact == pytest.approx((0.563, 0.943), abs=5e-4)
    assert (rate.successes, rate.timed_out, rate.failures) == (16, 4, {"dropped": 4})
    assert rate.mean_points == 80 and rate.mean_elapsed_s == pytest.approx(7.5)


def test_a_partial_success_gives_points_and_no_success() -> None:
    half = FinishedTrial(
        PlannedTrial(1, "cup", 0, "amber"), 1, Outcome("partial", 50, "dropped"), TrialFacts(1)
    )
    [rate] = rates([half], ["amber"], ["cup"])
    assert rate.successes == 0 and rate.mean_points == 50


@pytest.mark.parametrize(("baseline", "lead"), [(6, 7), (8, 7), (10, 7), (12, 6), (14, 5)])
def test_twenty_trials_can_show_a_lead_of_25_to_35_points(baseline: int, lead: int) -> None:
    assert smallest_difference(20, baseline) == lead
    assert resolution(20) == (0.25, 0.35)
    assert smallest_difference(20, 18) is None


def test_scenes_that_both_met_are_compared_in_pairs_and_others_not() -> None:
    finished = [*trials("amber", "cup", 16), *trials("birch", "cup", 8)]
    for paired, test in (([], "Barnard"), (["cup"], "McNemar")):
        [found] = comparisons(finished, ["amber", "birch"], ["cup"], paired=paired)
        assert (found.test, found.trials, found.difference) == (test, 20, pytest.approx(0.4))
        assert found.distinguishable and found.interval.low > 0
    [found] = comparisons(finished[:25], ["amber", "birch"], ["cup"], paired=["cup"])
    assert found.trials == 5
    assert comparisons(finished[:20], ["amber", "birch"], ["cup"], paired=[]) == []


def test_the_papers_real_robot_table_cannot_tell_dygro_from_its_rft_baseline() -> None:
    # DyGRO-VLA, table 3, 20 trials a task: hammer, bottles, bowls, cup.
    counts = {"sft": (3, 5, 14, 12), "rft": (6, 8, 18, 12), "dygro": (6, 8, 18, 14)}
    tasks = ["hammer", "bottles", "bowls", "cup"]
    finished = [
        trial
        for policy, successes in counts.items()
        for task, won in zip(tasks, successes, strict=True)
        for trial in trials(policy, task, won)
    ]
    found = comparisons(finished, list(counts), tasks, paired=[])
    against_rft = [c for c in found if {c.first, c.second} == {"rft", "dygro"}]
    assert [c.task for c in against_rft] == [*tasks, ALL]
    assert not any(c.distinguishable for c in against_rft)
    overall = against_rft[-1]
    assert overall.trials == 80 and overall.difference == pytest.approx(-2 / 80)


def test_newcombes_interval_is_the_published_one() -> None:
    # Newcombe (1998), table II, method 10: 56/70 - 48/80 and 9/10 - 3/10.
    assert newcombe_interval(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert newcombe_interval(9, 10, 3, 10) == pytest.approx((0.1705, 0.8090), abs=5e-5)


def test_equal_policies_are_told_apart_in_at_most_one_of_twenty_comparisons() -> None:
    rng = np.random.default_rng(0)
    false = {"McNemar": 0, "Barnard": 0}
    pairs = 2000
    chances = rng.uniform(0.1, 0.95, pairs)
    for chance in chances:
        first, second = (int(n) for n in rng.binomial(20, chance, 2))
        false["Barnard"] += barnard_p_value(first, 20, second, 20) < 0.05
        disagree = rng.random((2, 20)) < chance
        gained, lost = int((disagree[0] & ~disagree[1]).sum()), int((disagree[1] & ~disagree[0]).sum())
        false["McNemar"] += stats.binomtest(gained, gained + lost).pvalue < 0.05 if gained + lost else False
    assert max(false.values()) <= 0.05 * pairs, false


def test_the_exact_interval_covers_at_least_94_percent_exactly() -> None:
    for rate in np.arange(0.1, 0.9501, 0.01):
        chance = stats.binom.pmf(np.arange(21), 20, rate)
        inside = [low <= rate <= high for low, high in (clopper_pearson_interval(k, 20) for k in range(21))]
        assert chance[inside].sum() >= 0.95


def test_names_are_hidden_until_they_are_opened(tmp_path: Path) -> None:
    record = open_record(tmp_path / "run", plan_with(tmp_path), dict)
    codes = record.seal.codes
    while (found := record.next_trial()) is not None:
        record.start(*found, AT)
        better = record.seal.policy(found[0].code) == "new"
        record.finish(*found, SUCCESS if better else FAILURE, TrialFacts(1.0), AT)
    text = json.dumps(results(record))
    assert '"new"' not in text and '"old"' not in text
    blind = results(record)
    assert blind["policies"] == list(codes) and blind["finished"] == blind["planned"] == 16
    record.look("names", AT)
    known = results(record)
    assert known["policies"] == ["new", "old"]
    [new] = [r for r in known["rates"] if (r["policy"], r["task"]) == ("new", ALL)]
    assert new["successes"] == new["trials"] == 8
    assert known["record"]["looks"] == [{"what": "names", "finished": 16}]
