"""The record of an evaluation: nothing that was recorded is lost, and nothing is known too early."""

import json
from pathlib import Path

import pytest
from evaluation_fixtures import FAILURE, SUCCESS, plan_with

from dygro_ros.errors import DataError, RunFolderError, UserError
from dygro_ros.evaluation.plan import EvaluationPlan
from dygro_ros.evaluation.record import (
    EvaluationRecord,
    Outcome,
    TrialFacts,
    UnfinishedAttempt,
    check_outcome,
    open_record,
)

FACTS = TrialFacts(elapsed_s=4.25, timed_out=True)
AT = "2026-01-01T00:00:00.000+00:00"


def opened(folder: Path, plan: EvaluationPlan) -> EvaluationRecord:
    return open_record(folder / "run", plan, lambda: {"commit": "0123abc"})


def run_one(record: EvaluationRecord, outcome: Outcome = SUCCESS) -> int:
    found = record.next_trial()
    assert found is not None
    record.start(*found, AT)
    record.finish(*found, outcome, FACTS, AT)
    return found[0].number


def test_trials_follow_one_another_and_are_read_back(tmp_path: Path) -> None:
    plan = plan_with(tmp_path)
    record = opened(tmp_path, plan)
    assert [run_one(record, FAILURE if i == 2 else SUCCESS) for i in range(5)] == [1, 2, 3, 4, 5]
    before, codes = record.finished, record.seal.codes
    record.close()
    again = opened(tmp_path, plan)
    assert again.finished == before and again.seal.codes == codes and not again.complete
    assert again.finished[3].outcome == FAILURE and again.finished[3].facts == FACTS
    for _ in range(11):
        run_one(again)
    assert again.complete and again.next_trial() is None


def test_an_attempt_that_was_broken_off_stays_and_the_trial_comes_again(tmp_path: Path) -> None:
    plan = plan_with(tmp_path)
    record = opened(tmp_path, plan)
    run_one(record)
    trial, attempt = record.next_trial() or pytest.fail()
    record.start(trial, attempt, AT)
    record.close()
    again = opened(tmp_path, plan)
    again.begin_session({"operator": "a"})
    assert again.unfinished == [UnfinishedAttempt(2, 1, "interrupted", False)]
    assert again.next_trial() == (trial, 2)


def test_a_void_trial_is_kept_and_replaced(tmp_path: Path) -> None:
    record = opened(tmp_path, plan_with(tmp_path))
    trial, attempt = record.next_trial() or pytest.fail()
    record.start(trial, attempt, AT)
    with pytest.raises(UserError, match="must have a reason"):
        record.void(trial, attempt, "  ", AT)
    record.void(trial, attempt, "the gripper's cable came off", AT)
    assert record.unfinished == [UnfinishedAttempt(1, 1, "the gripper's cable came off", True)]
    assert record.next_trial() == (trial, 2)


def test_a_correction_keeps_what_was_said_before(tmp_path: Path) -> None:
    record = opened(tmp_path, plan_with(tmp_path))
    run_one(record)
    with pytest.raises(UserError, match="trial 2 has no outcome to correct"):
        record.correct(2, FAILURE, AT)
    record.correct(1, FAILURE, AT)
    assert record.finished[1].outcome == FAILURE and record.finished[1].corrections == 1
    events = [json.loads(line)["event"] for line in (record.folder / "ledger.jsonl").read_text().splitlines()]
    assert events == ["opened", "started", "finished", "corrected"]


def test_the_ledger_does_not_tell_who_is_who_and_shows_who_looked(tmp_path: Path) -> None:
    record = opened(tmp_path, plan_with(tmp_path))
    for _ in range(6):
        run_one(record)
    lines = (record.folder / "ledger.jsonl").read_text().splitlines()
    for line in lines[1:]:
        assert "new" not in line and "old" not in line
    assert set(json.loads(lines[0])) == {"event", "plan", "seal", "commit"}
    assert not record.unblinded
    record.look("names", AT)
    assert record.unblinded and record.looks == [("names", 6)]


def test_another_plan_is_refused_by_its_field(tmp_path: Path) -> None:
    opened(tmp_path, plan_with(tmp_path)).close()
    with pytest.raises(RunFolderError, match="begun with another plan: trials was 4, and is 5"):
        opened(tmp_path, plan_with(tmp_path, trials=5))
    with pytest.raises(RunFolderError, match="another process"):
        first = opened(tmp_path, plan_with(tmp_path))
        try:
            opened(tmp_path, plan_with(tmp_path))
        finally:
            first.close()


def test_names_are_dealt_anew_where_a_kill_came_before_the_first_line(tmp_path: Path) -> None:
    plan = plan_with(tmp_path)
    opened(tmp_path, plan).close()
    (tmp_path / "run" / "ledger.jsonl").write_text('{"event":"opened"')
    record = opened(tmp_path, plan)
    assert run_one(record) == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"event":"finished","trial":99,"attempt":1}', "line 2 is not an event of ours: KeyError"),
        ('{"event":"danced","trial":1,"attempt":1}', "unknown event 'danced'"),
        ('{"trial":1}', "line 2 is not an event of ours"),
    ],
)
def test_a_ledger_of_another_kind_is_refused(tmp_path: Path, line: str, words: str) -> None:
    plan = plan_with(tmp_path)
    opened(tmp_path, plan).close()
    with (tmp_path / "run" / "ledger.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=words):
        opened(tmp_path, plan)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome("success", 99), "points of a success must be 100, got 99"),
        (Outcome("partial", 100, "dropped"), "points of a partial must be 1 to 99, got 100"),
        (Outcome("failure", 0), "a failure must have a failure reason"),
        (Outcome("success", 100, "dropped"), "a success must have no failure reason"),
        (Outcome("failure", 0, "fell"), "failure must be one of no motion"),
        (Outcome("failure", 0, "dropped", "x" * 2001), "at most 2000 characters, got 2001"),
        (Outcome("maybe", 0), "verdict must be one of success, partial, failure, got 'maybe'"),  # type: ignore[arg-type]
    ],
)
def test_an_outcome_that_contradicts_itself_is_refused(tmp_path: Path, outcome: Outcome, words: str) -> None:
    with pytest.raises(UserError) as caught:
        check_outcome(outcome, plan_with(tmp_path))
    assert words in str(caught.value)
