"""The gap's report: what it compares, what it calls not covered, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_fixtures import FAILURE, SUCCESS, plan_with
from test_gap_measures import swing

from dygro_ros.errors import DataError, UserError
from dygro_ros.evaluation.record import TrialFacts, open_record
from dygro_ros.evaluation.report import write_report
from dygro_ros.evaluation.results import ALL, results
from sim2real import gap as gap_module
from sim2real.cell.randomization import RandomizationConfig
from sim2real.cell.work_cell import WorkCell
from sim2real.gap import Gap, draw_seeds, measure, motions, quantity, read_results, success
from sim2real.gap_measures import RecordedTrial, same_commands_in_the_cell
from sim2real.gap_report import render, verdicts
from sim2real.seeds import SeedPurpose, purpose_of


def evaluation(folder: Path, wins: int, unblind: bool = True, **changes: Any) -> Path:
    """Run a plan of two tasks, 4 trials of each of two policies; the first `wins` trials succeed."""
    folder.mkdir(exist_ok=True)
    record = open_record(folder / "run", plan_with(folder, **changes), dict)
    for trial in record.trials:
        record.start(trial, 1, "now")
        record.finish(trial, 1, SUCCESS if trial.number <= wins else FAILURE, TrialFacts(2.0), "now")
    if unblind:
        record.look("names", "now")
    write_report(results(record), record.folder)
    record.close()
    return folder / "run"


def recorded(extra_delay_s: float = 0.0, seed: int = 3) -> RecordedTrial:
    """Return what a robot would record that is the clean cell with a longer way for its commands."""
    cell = WorkCell(RandomizationConfig.from_name("clean"), image_size=64)
    moved = same_commands_in_the_cell(swing(), cell, "place_empty_cup", seed)
    cell.reset("place_empty_cup", seed)
    picture = cell.images()[0].copy()
    cell.close()
    measured_s = moved.measured_s + extra_delay_s
    return RecordedTrial(
        picture, type(moved)(moved.commanded_s, moved.commanded, measured_s, moved.measured), 0.01
    )


def test_success_is_compared_in_the_tasks_that_both_have(tmp_path: Path) -> None:
    real = read_results(evaluation(tmp_path / "real", 4))
    sim = read_results(evaluation(tmp_path / "sim", 16, simulation={}))
    rows = {(row["policy"], row["task"]): row for row in success(real, sim)}
    assert len(rows) == 6
    assert rows["new", "place_empty_cup"]["real"] == [2, 4] and rows["new", ALL]["real"] == [2, 8]
    assert rows["new", ALL]["difference"] == -0.75 and rows["new", ALL]["p_value"] < 0.05
    # Of what only one of them has, nothing is said: not even in the line of all tasks.
    alone = evaluation(tmp_path / "one", 8, tasks={"place_empty_cup": {"time_limit_s": 9}}, simulation={})
    rows = {(row["policy"], row["task"]): row for row in success(real, read_results(alone))}
    assert set(rows) == {("new", "place_empty_cup"), ("old", "place_empty_cup")}
    other = evaluation(tmp_path / "other", 8, tasks={"beat_block_hammer": {"time_limit_s": 9}}, simulation={})
    with pytest.raises(
        UserError, match="no policy ran in the same task in both: new, old in place_empty_cup"
    ):
        success(real, read_results(other))


def test_a_longer_way_of_the_commands_is_named_with_the_keys_that_do_not_cover_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gap_module, "REPLAYS", 20)
    randomization = RandomizationConfig.from_name("randomized")
    for extra_s, side in ((0.0, ""), (0.15, "above")):
        trials = [("place_empty_cup", recorded(extra_s, seed)) for seed in (3, 4)]
        found, joints = motions(trials, randomization)
        named = {one["name"]: one for one in found}
        assert named["command to motion"]["side"] == named["picture to motion"]["side"] == side
        assert len(joints) == 12 and all(j["real"] < 40 and j["cell"] < 40 for j in joints)
    [sentence] = [s for s in verdicts(found) if "command to motion" in s]
    assert "Not covered" in sentence and "random_latency_steps" in sentence
    still = recorded()
    silent = RecordedTrial(still.picture, type(still.motion)(*([np.zeros(5), np.zeros((5, 14))] * 2)), 0.01)
    assert motions([("place_empty_cup", silent)], randomization) == ([], [])


def test_covered_means_that_the_median_lies_where_the_draws_do() -> None:
    drawn = np.linspace(0, 100, 201)
    inside = quantity("brightness", [50.0, 60.0, 99.5], drawn)
    assert inside["side"] == "" and inside["outside"] == 1
    assert (inside["low"], inside["high"]) == pytest.approx((2.5, 97.5))
    assert quantity("brightness", [0.0, 1.0, 60.0], drawn)["side"] == "below"
    assert quantity("brightness", [120.0], drawn)["side"] == "above"
    assert verdicts([inside]) == ["Covered: brightness."]


def test_draws_are_nobodys_and_never_the_same() -> None:
    seeds = [*draw_seeds(0, 150), *draw_seeds(150, 150)]
    assert len(set(seeds)) == 300 and {purpose_of(seed) for seed in seeds} == {SeedPurpose.TESTS}


def test_the_page_and_its_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gap_module, "REPLAYS", 4)
    monkeypatch.setattr(gap_module, "PICTURES", 8)
    real = evaluation(tmp_path / "real", 4)
    sim = evaluation(tmp_path / "sim", 9, simulation={})
    with pytest.raises(UserError, match="holds no recording of a finished trial"):
        measure(Gap(real, sim))
    folder = real / "recordings" / "trial_0002_1"
    folder.mkdir(parents=True)
    (folder / "trial.mcap").touch()
    monkeypatch.setattr(gap_module, "read_trial", lambda path: recorded(0.2))
    found = json.loads(json.dumps(measure(Gap(real, sim)), allow_nan=False))
    assert found["recordings"] == 1 and not found["stand_in"] and len(found["quantities"]) == 8
    page = render(found)
    assert "<b>Not covered: command to motion</b>" in page and "place empty cup" in page
    assert "src=" not in page and "<link" not in page and page.count("<svg") == 1
    assert "The robot was the simulated one" in render(found | {"stand_in": True})


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    real = evaluation(tmp_path / "real", 4)
    with pytest.raises(UserError, match="was not run in the simulated cell: give the robot's folder first"):
        measure(Gap(real, real))
    with pytest.raises(UserError, match="unknown randomization 'wild'"):
        measure(Gap(real, real, randomization="wild"))
    sealed = evaluation(tmp_path / "sealed", 4, unblind=False)
    with pytest.raises(UserError, match="goes by code names: open them with --unblind"):
        read_results(sealed)
    with pytest.raises(UserError, match=r"expected an evaluation's .*results\.json: No such file"):
        read_results(tmp_path)
    for text in ("{", "[]", '{"unblinded": true}'):
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(DataError, match="is not an evaluation's results"):
            read_results(tmp_path)
