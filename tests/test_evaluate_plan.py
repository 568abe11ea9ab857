"""The command that runs a plan in the cell, with a cell that has no physics."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from evaluation_fixtures import VALUES
from policy_fixtures import make_bundle
from scripted_cell import ScriptedCell

from dygro_ros.errors import UserError
from dygro_ros.evaluation.plan import EvaluationPlan
from dygro_ros.inference import OnnxPolicy
from sim2real import evaluate_plan
from sim2real.cell_trials import CellTrials


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    bundle = make_bundle(tmp_path / "bundle")

    def scripted(plan: EvaluationPlan) -> CellTrials:
        return CellTrials(plan, ScriptedCell(), {bundle.path: OnnxPolicy(bundle)})

    monkeypatch.setattr(evaluate_plan, "open_cell_trials", scripted)
    policies = {
        "residual_policy": {"bundle": "bundle"},
        "plain_policy": {"bundle": "bundle", "residual": False},
    }
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(VALUES | {"policies": policies, "simulation": {}, "countdown_s": 0}))
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["evaluate_plan", *arguments])
    return evaluate_plan.main()


def test_a_plan_runs_unattended_and_its_names_are_opened_when_asked(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(monkeypatch, str(plan), "--out", str(out)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "report.html")
    blind = json.loads((out / "results.json").read_text())
    assert blind["policies"] == ["amber", "birch"] and blind["finished"] == 16
    assert "_policy" not in (out / "results.json").read_text() + (out / "report.html").read_text()
    assert run(monkeypatch, str(plan), "--out", str(out), "--unblind") == 0
    known = json.loads((out / "results.json").read_text())
    assert known["policies"] == ["plain_policy", "residual_policy"] and len(known["trials"]) == 16
    assert known["record"]["looks"] == [{"what": "names", "finished": 16}]
    assert known["record"]["provenance"]["software"]["numpy"]


def test_a_plan_that_has_changed_is_not_gone_on_with(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, str(plan), "--out", str(tmp_path / "out"))
    plan.write_text(plan.read_text().replace("trials: 4", "trials: 5"))
    with pytest.raises(UserError, match="begun with another plan: trials was 4, and is 5"):
        run(monkeypatch, str(plan), "--out", str(tmp_path / "out"))
