"""Evaluation plans: what is read, what is refused, and the order of the trials."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from evaluation_fixtures import VALUES, plan_with
from hypothesis import given
from hypothesis import strategies as st

from dygro_ros.errors import UserError
from dygro_ros.evaluation.plan import EvaluationPlan, planned_trials, read_plan, reference_picture


def test_paths_are_relative_to_the_plan(tmp_path: Path) -> None:
    plan = plan_with(tmp_path)
    assert plan.policies["new"].bundle == tmp_path / "bundles" / "new"
    assert plan.sealed and not plan_with(tmp_path, blind=False).sealed
    assert not plan_with(tmp_path, policies={"new": {"bundle": "x"}}).sealed


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"robot": "simm"}, "unknown robot profile 'simm' in robot (did you mean 'sim'?)"),
        ({"trails": 20}, "trails"),
        ({"trials": 0}, "trials"),
        ({"policies": {}}, "policies"),
        ({"policies": {"New": {"bundle": "x"}}}, "policies.New"),
        ({"tasks": {"cup": {"instruction": "", "time_limit_s": 5}}}, "tasks.cup.instruction"),
        ({"tasks": {"cup": {"instruction": "x" * 97, "time_limit_s": 5}}}, "tasks.cup.instruction"),
        ({"tasks": {"cup": {"instruction": "x"}}}, "tasks.cup.time_limit_s"),
        ({"tasks": {"cup": {"time_limit_s": 5}}}, "tasks.cup.instruction must say what to do"),
        ({"tasks": {"cup": {"instruction": "x", "time_limit_s": 5, "scenes": "no"}}}, "tasks.cup.scenes"),
        ({"failures": ["dropped", "dropped"]}, "each reason must be named once"),
    ],
)
def test_what_is_wrong_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        plan_with(tmp_path, **changes)
    assert words in str(caught.value)


def test_the_plans_that_come_with_the_package_are_read() -> None:
    paths = sorted((Path(__file__).parents[1] / "config" / "plans").glob("*.yaml"))
    assert paths
    for path in paths:
        assert read_plan(path).policies


def test_a_file_that_is_no_plan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    for text, words in (("[1, 2]", "found list"), ("a: [", "is not YAML"), ("x" * 1_000_001, "larger than")):
        path.write_text(text)
        with pytest.raises(UserError, match=words):
            read_plan(path)
    with pytest.raises(UserError, match="No such file"):
        read_plan(tmp_path / "other.yaml")


def test_reference_pictures_begin_anew_where_there_are_fewer_than_trials(tmp_path: Path) -> None:
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    tasks = {"cup": {"instruction": "x", "time_limit_s": 5, "scenes": "scenes"}}
    with pytest.raises(UserError, match="holds no picture"):
        plan_with(tmp_path, tasks=tasks)
    for name in ("b.PNG", "a.jpg", "notes.txt"):
        (scenes / name).touch()
    task = plan_with(tmp_path, tasks=tasks).tasks["cup"]
    found = [reference_picture(task, scene) for scene in range(3)]
    assert found == [scenes / "a.jpg", scenes / "b.PNG", scenes / "a.jpg"]


@given(seed=st.integers(0, 10_000), trials=st.integers(1, 30), policies=st.integers(1, 8))
def test_each_policy_meets_each_scene_once_in_its_block(seed: int, trials: int, policies: int) -> None:
    codes = tuple("abcdefgh"[:policies])
    values = VALUES | {
        "seed": seed,
        "trials": trials,
        "policies": {code: {"bundle": "x"} for code in codes},
    }
    plan = EvaluationPlan.model_validate(values)
    order = planned_trials(plan, codes)
    assert [trial.number for trial in order] == list(range(1, len(order) + 1))
    blocks = [order[i : i + policies] for i in range(0, len(order), policies)]
    assert [(block[0].task, block[0].scene) for block in blocks] == [
        (task, scene) for task in plan.tasks for scene in range(trials)
    ]
    for block in blocks:
        assert len({(trial.task, trial.scene) for trial in block}) == 1
        assert sorted(trial.code for trial in block) == list(codes)


def test_who_begins_follows_from_the_seed_and_is_even(tmp_path: Path) -> None:
    codes = ("amber", "birch")
    plans = [plan_with(tmp_path, seed=seed, trials=100) for seed in (1, 1, 2)]
    orders = [planned_trials(plan, codes) for plan in plans]
    assert orders[0] == orders[1] != orders[2]
    first = Counter(trial.code for trial in orders[0][::2])
    assert 70 <= first["amber"] <= 130
    with pytest.raises(ValueError, match="expected 2 different code names"):
        planned_trials(plans[0], ("amber", "amber"))
