"""Outcomes that the evaluation client reports: rates, intervals, and the seeds that it passed over."""

import json
from pathlib import Path

import pytest

from dygro_ros.errors import UserError
from sim2real.robotwin.trials import Trials


def test_outcomes_are_counted_by_task_with_an_interval() -> None:
    trials = Trials("b", "f", None)
    for seed in range(100000, 100010):
        said = trials.record("lift_pot", seed, seed % 2 == 0)
    assert said == "lift_pot, seed 100009: failed; 5 of 10 so far"
    trials.record("hang", 100000, True)
    found = trials.summary()
    assert list(found) == ["hang", "lift_pot"]
    assert (found["lift_pot"]["successes"], found["lift_pot"]["trials"]) == (5, 10)
    assert found["lift_pot"]["interval"] == pytest.approx([0.2366, 0.7634], abs=1e-4)
    assert trials.lines()[1] == (
        "lift_pot: 5 of 10 (50.0 %, 95 % interval 23.7 .. 76.3); seeds passed over: none"
    )


def test_seeds_passed_over_are_counted_from_each_runs_first() -> None:
    trials = Trials("b", "f", None)
    for seed in (100002, 100003, 100005, 300001):
        trials.record("lift_pot", seed, True)
    assert trials.summary()["lift_pot"]["seeds_passed_over"] == [100000, 100001, 100004, 300000]


def test_a_trial_told_twice_counts_once() -> None:
    trials = Trials("b", "f", None)
    trials.record("lift_pot", 100000, False)
    assert trials.record("lift_pot", 100000, True).endswith("1 of 1 so far")


def test_the_file_is_whole_after_each_trial_and_never_replaces_another(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    trials = Trials("bundle", "abc", out)
    assert not out.exists()
    for count, seed in enumerate((100000, 100001), start=1):
        trials.record("lift_pot", seed, True)
        written = json.loads(out.read_text("utf-8"))
        assert (written["bundle"], written["fingerprint"]) == ("bundle", "abc")
        assert written["tasks"]["lift_pot"]["trials"] == count
    with pytest.raises(UserError, match=r"results\.json, exists already"):
        Trials("bundle", "abc", out)
    with pytest.raises(UserError, match="lies in no folder: mkdir -p"):
        Trials("bundle", "abc", tmp_path / "none" / "results.json")
