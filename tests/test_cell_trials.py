"""A plan in the simulated cell, unattended: the episodes of `evaluate_sim`, whatever breaks it off."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_fixtures import plan_with
from policy_fixtures import make_bundle
from scripted_cell import ScriptedCell

from dygro_ros.bundle import Bundle
from dygro_ros.errors import UserError
from dygro_ros.evaluation.plan import EvaluationPlan
from dygro_ros.evaluation.record import EvaluationRecord, open_record
from dygro_ros.evaluation.results import results
from dygro_ros.evaluation.session import Session
from dygro_ros.inference import OnnxPolicy
from sim2real.bundle_episodes import EpisodeJob, run_episode
from sim2real.cell_trials import CellTrials, open_cell_trials, run_to_the_end, scene_seed


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("trials") / "bundle")


@pytest.fixture
def plan(bundle: Bundle, tmp_path: Path) -> EvaluationPlan:
    policies = {"new": {"bundle": str(bundle.path)}, "old": {"bundle": str(bundle.path), "residual": False}}
    tasks = {name: {"time_limit_s": 20} for name in ("place_empty_cup", "stack_bowls_two")}
    changes: dict[str, Any] = {"policies": policies, "tasks": tasks, "simulation": {}, "trials": 10}
    return plan_with(tmp_path, **changes, countdown_s=0)


def go_on(plan: EvaluationPlan, bundle: Bundle, folder: Path) -> EvaluationRecord:
    record = open_record(folder, plan, dict)
    record.begin_session({})
    robot = CellTrials(plan, ScriptedCell(), {bundle.path: OnnxPolicy(bundle)})
    for _ in run_to_the_end(Session(record, robot, clock=robot.clock), robot):
        pass
    return record


def shown(record: EvaluationRecord) -> dict[str, Any]:
    """Return what the report shows of the trials; the record of what was broken off is another thing."""
    record.look("names", "")
    found = results(record)
    record.close()
    assert found.pop("record")
    return found


def test_trials_are_the_episodes_of_evaluate_sim(
    plan: EvaluationPlan, bundle: Bundle, tmp_path: Path
) -> None:
    record = go_on(plan, bundle, tmp_path / "run")
    policy = OnnxPolicy(bundle)
    assert len(record.finished) == 40
    for finished in record.finished.values():
        name, trial = record.seal.policy(finished.trial.code), finished.trial
        job = EpisodeJob(0, trial.task, scene_seed(plan, trial.scene))
        wanted = run_episode(ScriptedCell(), policy, "chunk" if name == "new" else "base_chunk", job)
        assert (finished.outcome.verdict == "success") is wanted.success
        assert finished.facts.timed_out is not wanted.success
        assert finished.facts.elapsed_s == pytest.approx(wanted.steps / 25)
    found = {verdict.outcome.verdict for verdict in record.finished.values()}
    assert found == {"success", "failure"}
    record.close()
    # Once more, when all is done: there is nothing to run, and nothing to prepare.
    again = go_on(plan, bundle, tmp_path / "run")
    assert again.finished == record.finished
    again.close()


def test_wherever_a_plan_is_killed_it_goes_on_to_the_same_report(
    plan: EvaluationPlan, bundle: Bundle, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    open_record(begun, plan, dict).close()
    shutil.copytree(begun, tmp_path / "whole")
    wanted = shown(go_on(plan, bundle, tmp_path / "whole"))
    ledger = (tmp_path / "whole" / "ledger.jsonl").read_bytes()
    first = ledger.index(b"\n") + 1
    # A kill leaves the ledger as it was after some byte: whole lines, or half of one.
    for moment, cut in enumerate(np.random.default_rng(0).integers(first, len(ledger), 50)):
        folder = tmp_path / str(moment)
        shutil.copytree(begun, folder)
        (folder / "ledger.jsonl").write_bytes(ledger[:cut])
        events = [json.loads(line) for line in ledger[:cut].split(b"\n")[:-1]]
        finished = {event["trial"] for event in events if event["event"] == "finished"}
        record = open_record(folder, plan, dict)
        assert set(record.finished) == finished
        following = record.next_trial()
        assert (following[0].number if following else 41) == len(finished) + 1
        record.close()
        assert shown(go_on(plan, bundle, folder)) == wanted


def test_what_the_cell_cannot_run_is_refused_before_anything_is_written(plan: EvaluationPlan) -> None:
    with pytest.raises(UserError, match=r"unknown task 'cup' in tasks"):
        open_cell_trials(plan.model_copy(update={"tasks": {"cup": plan.tasks["place_empty_cup"]}}))
    with pytest.raises(UserError, match="needs a section simulation"):
        open_cell_trials(plan.model_copy(update={"simulation": None}))
