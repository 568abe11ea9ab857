import html
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console
from stage_two_fixtures import random_episode

from dygro_ros.errors import RunFolderError
from sim2real.evaluation_summary import result_table
from sim2real.method_table import merge, read_results, table
from sim2real.report import render
from training.world_evaluation import Contestant, WorldEvaluation, evaluate_in_world

TASKS = ("open", "close", "lift")


class Engine:
    """Solves a (task, seed) by a rule; ends where it is told to."""

    def __init__(self, solves, dies_after=None, tasks=TASKS):
        self.solves, self.dies_after, self.tasks = solves, dies_after, tasks
        self.requests, self.weights, self.closed = [], None, False

    def collect(self, requests, weights, progress=None):
        self.weights = weights
        episodes = []
        for request in requests:
            if self.dies_after is not None and len(self.requests) == self.dies_after:
                raise RuntimeError("killed")
            self.requests.append(request)
            success = self.solves(request)
            drawn = np.random.default_rng(request.seed)
            task = self.tasks.index(request.task)
            episodes.append(random_episode(drawn, task=task, seed=request.seed, success=success))
            progress(episodes[-1])
        return episodes

    def close(self):
        self.closed = True


def evaluation(base, policy, **changes):
    contestants = (
        Contestant("base", "base", 0, lambda: base, {}, executes_residual=False),
        Contestant("policy", "dygro", 500, lambda: policy, {"w": np.ones(1)}, executes_residual=True),
    )
    values = {
        "contestants": contestants, "tasks": ("lift", "open"), "known_tasks": TASKS,
        "seeds": dict.fromkeys(("lift", "open"), range(100, 110)),
        "training_seed": 3, "commit": "c0ffee", "identity": {"world": "toy"},
    }  # fmt: skip
    return WorldEvaluation(**{**values, **changes})


def half(request):
    return request.seed % 2 == 0


def always(request):
    return request.task == "lift" or half(request)


def test_every_task_and_seed_is_run_by_both_and_compared(tmp_path):
    base, policy = Engine(half), Engine(always)
    results = evaluate_in_world(evaluation(base, policy), tmp_path)
    for engine, mode in ((base, "base"), (policy, "mean")):
        assert {(r.task, r.seed, r.mode) for r in engine.requests} == {
            (task, seed, mode) for task in ("lift", "open") for seed in range(100, 110)
        }
        assert engine.closed
    assert policy.weights == {"w": np.ones(1)}
    assert results["rates"]["base"]["lift"]["successes"] == 5
    assert results["rates"]["policy"]["lift"]["successes"] == 10
    assert results["rates"]["policy"]["all"]["episodes"] == 20
    assert results["paired_differences"]["lift"]["difference"] == 0.5
    assert results["paired_differences"]["open"]["difference"] == 0.0
    assert results["records"][2] == {
        "method": "dygro", "training_seed": 3, "task": "lift", "successes": 10, "episodes": 10,
        "environment_steps": 500, "commit": "c0ffee",
    }  # fmt: skip
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert result_table(results).row_count == 3
    # The command that makes docs/results/*.json reads it like the cell's.
    read = read_results(tmp_path)
    assert merge([], read["records"]) == sorted(results["records"], key=lambda r: r["method"] != "base")
    assert table([read]).splitlines()[-1] == "| dygro | 3 | 100 | 50 | 75.0 (53, 89) | +25.0 (1, 44) |"


def test_a_terminal_of_eighty_columns_shows_long_task_names_and_every_number_whole(tmp_path):
    tasks = ("KITCHEN_SCENE3_put_the_moka_pot_on_the_stove",)
    base, policy = Engine(half, tasks=tasks), Engine(lambda request: True, tasks=tasks)
    plan = evaluation(base, policy, tasks=tasks, known_tasks=tasks, seeds={tasks[0]: range(100, 150)})
    results = evaluate_in_world(plan, tmp_path)
    console = Console(width=80, file=io.StringIO())
    console.print(result_table(results))
    text = console.file.getvalue()
    assert "…" not in text
    for whole in ("50.0 (37, 63)", "100.0 (93, 100)", "+50.0 (33, 63)", "6e-08"):
        assert whole in text


def test_an_evaluation_that_was_killed_goes_on_where_it_was(tmp_path):
    with pytest.raises(RuntimeError, match="killed"):
        evaluate_in_world(evaluation(Engine(half), Engine(always, dies_after=7)), tmp_path)
    base, policy = Engine(half), Engine(always)
    results = evaluate_in_world(evaluation(base, policy), tmp_path)
    assert (len(base.requests), len(policy.requests)) == (0, 13)
    assert results["rates"]["policy"]["lift"]["successes"] == 10


def test_results_keep_the_commit_with_which_the_evaluation_began(tmp_path):
    evaluate_in_world(evaluation(Engine(half), Engine(always)), tmp_path)
    results = evaluate_in_world(evaluation(Engine(half), Engine(always), commit="dec0de"), tmp_path)
    assert {entry["commit"] for entry in results["contestants"] + results["records"]} == {"c0ffee"}


@pytest.mark.parametrize(
    ("identity", "title", "scenes"),
    [
        ({"world": "libero"}, "dygro in LIBERO", "10 episodes a task on LIBERO's fixed initial states"),
        (
            {"world": "robotwin", "seeds_passed_over": {"lift": {"104": "unstable"}, "open": {}}},
            "dygro in RoboTwin",
            "seeds from 100 on that the expert solves, which no training uses (passed over: 1).",
        ),
        ({"world": "toy"}, "dygro in toy", "10 episodes a task on seeds 100 to 109, which no training uses."),
    ],
)
def test_its_report_says_where_and_on_what(tmp_path, identity, title, scenes):
    identity = {**identity, "configuration": "fedcba9876543210fedcba"}
    results = evaluate_in_world(evaluation(Engine(half), Engine(always), identity=identity), tmp_path)
    page = html.unescape(render(results))
    assert f"<h1>{title}</h1>" in page and scenes in page
    assert "The policy is better than its base" in page and "5 episodes of the policy ran into" in page
    assert "c0ffee" in page and "fedcba9876543210." in page
    assert "router" not in page and "instruction" not in page


def test_the_report_s_command_refuses_what_holds_no_results(tmp_path):
    (tmp_path / "results.json").write_text('{"plan": {}}')
    done = subprocess.run(
        [sys.executable, "-m", "sim2real.report", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "does not hold an evaluation's results" in done.stderr


def test_episodes_of_another_evaluation_are_refused(tmp_path):
    evaluate_in_world(evaluation(Engine(half), Engine(always)), tmp_path)
    with pytest.raises(RunFolderError, match="holds another evaluation"):
        evaluate_in_world(evaluation(Engine(half), Engine(always), identity={"world": "other"}), tmp_path)
    later = dict.fromkeys(("lift", "open"), range(101, 111))
    with pytest.raises(RunFolderError, match=r"'first_seed': 101, .* 'first_seed': 100"):
        evaluate_in_world(evaluation(Engine(half), Engine(always), seeds=later), tmp_path)


def test_a_task_may_have_seeds_of_its_own(tmp_path):
    seeds = {"lift": [100, 103], "open": [101, 102]}
    base, policy = Engine(half), Engine(always)
    results = evaluate_in_world(evaluation(base, policy, seeds=seeds), tmp_path)
    for engine in (base, policy):
        assert [(r.task, r.seed) for r in engine.requests] == [
            ("lift", 100), ("open", 101), ("lift", 103), ("open", 102),
        ]  # fmt: skip
    assert (results["plan"]["first_seed"], results["plan"]["episodes"]) == (100, 2)
    assert results["paired_differences"]["lift"]["difference"] == 0.5
    with pytest.raises(ValueError, match="shorter"):
        evaluation(base, policy, seeds={**seeds, "open": [101]}).plan()
