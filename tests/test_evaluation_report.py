"""The report of a plan: what must be said before any number, and nothing that the trials do not show."""

import json
from pathlib import Path

import pytest
from evaluation_fixtures import FAILURE, SUCCESS, plan_with

from dygro_ros.evaluation.record import EvaluationRecord, Outcome, TrialFacts, open_record
from dygro_ros.evaluation.report import render, write_report
from dygro_ros.evaluation.results import results

AT = "2026-01-01T00:00:00.000+00:00"


def run(record: EvaluationRecord, count: int, better: str = "") -> None:
    for _ in range(count):
        found = record.next_trial()
        assert found is not None
        record.start(*found, AT)
        won = record.seal.policy(found[0].code) == better
        record.finish(*found, SUCCESS if won else FAILURE, TrialFacts(3.0), AT)


@pytest.fixture
def record(tmp_path: Path) -> EvaluationRecord:
    return open_record(tmp_path / "run", plan_with(tmp_path, trials=20), lambda: {"commit": "0123abc"})


def test_a_clear_difference_is_called_one(record: EvaluationRecord) -> None:
    run(record, 80, better="new")
    record.look("names", AT)
    text = render(results(record))
    assert "new did better than old (p = " in text
    assert "can show a difference of about 25 to 35 points" in text
    assert "class='bad'" not in text and "0123abc" in text


def test_no_difference_is_not_called_one(record: EvaluationRecord) -> None:
    run(record, 80)
    text = render(results(record))
    assert "are not distinguishable on these trials (p = 1;" in text
    assert "did better" not in text and "under code names" in text
    assert "new" not in text.split("<body>")[1].replace("newcombe", "").replace("Newcombe", "")


def test_looking_early_stands_at_the_head(record: EvaluationRecord) -> None:
    run(record, 30)
    record.look("report", AT)
    record.look("names", AT)
    record.correct(1, SUCCESS, AT)
    trial, attempt = record.next_trial() or pytest.fail()
    record.start(trial, attempt, AT)
    record.void(trial, attempt, "the cable <b>came</b> off", AT)
    text = render(results(record))
    for words in (
        "Not finished: 50 trials are still to come",
        "Results were looked at after 30 of 80 trials.",
        "The names were opened after 30 of 80 trials.",
        "1 outcomes were changed after they had been given.",
        "the cable &lt;b&gt;came&lt;/b&gt; off",
    ):
        assert words in text
    assert text.index("Not finished") < text.index("class='headline'")


def test_a_page_can_be_made_before_the_first_trial(record: EvaluationRecord) -> None:
    assert "No trial has been finished." in render(results(record))


def test_what_operators_write_stays_text_and_json_lies_beside(record: EvaluationRecord) -> None:
    found = record.next_trial() or pytest.fail()
    record.start(*found, AT)
    note = "<script>alert(1)</script>"
    record.finish(*found, Outcome("partial", 50, "dropped", note), TrialFacts(3.0, safety_stop="<i>"), AT)
    page = write_report(results(record), record.folder)
    assert note not in page.read_text() and "&lt;script&gt;" in page.read_text()
    values = json.loads((record.folder / "results.json").read_text())
    assert values["trials"][0]["outcome"]["note"] == note
    assert not list(record.folder.glob("*.tmp"))
