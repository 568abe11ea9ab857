"""The evaluation command: plan, resumption, results, and what it refuses."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from policy_fixtures import contract, golden_frames, graph_bytes, make_bundle, training_spec
from rich.console import Console
from scripted_cell import ScriptedWorker

from dygro_ros.bundle import Bundle, write_bundle
from dygro_ros.errors import DataError, DependencyError, RunFolderError, UserError
from sim2real.cell.tasks import STEP_LIMITS
from sim2real.evaluate_sim import EvaluateSim, Evaluation, evaluate, gate_sentence, prepare, result_table, run
from sim2real.seeds import SEED_BLOCKS, SeedPurpose, purpose_of
from sim2real.worker_pool import WorkerError

TASKS = ("place_empty_cup", "stack_bowls_two")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("evaluation") / "bundle")


def options(bundle: Bundle, out: Path, **changes: Any) -> EvaluateSim:
    known = EvaluateSim(bundle=bundle.path, out=out, base_chunk=True, tasks=TASKS, episodes=5, report=False)
    return dataclasses.replace(known, **changes)


def scripted(evaluation: Evaluation, **changes: Any) -> ScriptedWorker:
    return ScriptedWorker(evaluation.contestants, **changes)


def outcomes(results: dict[str, Any]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if not k.endswith("_s")} for record in results["episodes"]]


def test_results_hold_what_the_episodes_say(bundle: Bundle, tmp_path: Path) -> None:
    evaluation = prepare(options(bundle, tmp_path / "e"))
    results = evaluate(
        evaluation,
        tmp_path / "e",
        workers=1,
        make_worker=scripted(evaluation),
        command="evaluate it",
        show=False,
    )
    assert results == json.loads((tmp_path / "e" / "results.json").read_text())
    assert results["command"] == "evaluate it"
    assert len(results["episodes"]) == 2 * 2 * 5
    for record in results["records"]:
        assert set(record) == {
            "method", "training_seed", "task", "successes", "episodes", "environment_steps", "commit"
        }  # fmt: skip
        role = "base" if record["method"] == "base" else "policy"
        found = [
            r["success"] for r in results["episodes"] if r["role"] == role and r["task"] == record["task"]
        ]
        assert (record["successes"], record["episodes"]) == (sum(found), 5)
        assert record["environment_steps"] == (0 if role == "base" else 1000)
        assert record["commit"] == "0123abc"
    assert {record["method"] for record in results["records"]} == {"base", "dygro"}
    assert {record["seed"] for record in results["episodes"]} == set(range(100_000, 100_005))
    difference = results["paired_differences"]["all"]
    totals = {role: results["rates"][role]["all"]["successes"] for role in ("base", "policy")}
    assert difference["difference"] == pytest.approx((totals["policy"] - totals["base"]) / 10)


def test_no_evaluation_seed_is_a_training_seed(bundle: Bundle, tmp_path: Path) -> None:
    for seed in (0, 7, 999):
        evaluation = prepare(options(bundle, tmp_path, evaluation_seed=seed, episodes=100))
        assert {purpose_of(s) for s in evaluation.seeds} == {SeedPurpose.EVALUATION}
    assert SEED_BLOCKS[SeedPurpose.EVALUATION].first == 100_000


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_changes_nothing(bundle: Bundle, tmp_path: Path, workers: int) -> None:
    evaluation = prepare(options(bundle, tmp_path))
    one = evaluate(evaluation, tmp_path / "1", workers=1, make_worker=scripted(evaluation), show=False)
    many = evaluate(evaluation, tmp_path / "n", workers=workers, make_worker=scripted(evaluation), show=False)
    assert outcomes(one) == outcomes(many)
    assert one["rates"] == many["rates"]
    assert one["gates"] == many["gates"]


def test_an_interrupted_evaluation_goes_on(bundle: Bundle, tmp_path: Path) -> None:
    evaluation = prepare(options(bundle, tmp_path))
    whole = evaluate(evaluation, tmp_path / "whole", workers=1, make_worker=scripted(evaluation), show=False)
    out, counted = tmp_path / "parts", tmp_path / "counted"
    with pytest.raises(WorkerError):
        evaluate(
            evaluation,
            out,
            workers=2,
            make_worker=scripted(evaluation, dies_on=100_003, counted=counted),
            show=False,
        )
    assert not (out / "results.json").exists()
    before = counted.stat().st_size
    assert 0 < before < 20
    with (out / "episodes.jsonl").open("a") as stream:
        stream.write('{"role": "policy", "task": "place_em')
    finished = len((out / "episodes.jsonl").read_text().splitlines()) - 1
    again = evaluate(
        evaluation, out, workers=2, make_worker=scripted(evaluation, counted=counted), show=False
    )
    assert outcomes(again) == outcomes(whole)
    assert counted.stat().st_size - before == 20 - finished
    evaluate(evaluation, out, workers=1, make_worker=scripted(evaluation, fails_on=100_000), show=False)


def test_another_evaluation_is_not_overwritten(bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "e"
    first = prepare(options(bundle, out, episodes=2))
    evaluate(first, out, workers=1, make_worker=scripted(first), show=False)
    before = (out / "results.json").read_bytes()
    second = prepare(options(bundle, out, episodes=3))
    with pytest.raises(RunFolderError, match=r"episodes was 2, now 3.*--overwrite"):
        evaluate(second, out, workers=1, make_worker=scripted(second), show=False)
    assert (out / "results.json").read_bytes() == before
    results = evaluate(second, out, workers=1, make_worker=scripted(second), overwrite=True, show=False)
    assert len(results["episodes"]) == 12


def test_a_folder_that_is_no_evaluation_is_never_touched(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    evaluation = prepare(options(bundle, tmp_path))
    with pytest.raises(RunFolderError, match="no evaluation of ours"):
        evaluate(
            evaluation, tmp_path, workers=1, make_worker=scripted(evaluation), overwrite=True, show=False
        )
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(DataError, match=r"plan.json is not JSON"):
        evaluate(evaluation, tmp_path, workers=1, make_worker=scripted(evaluation), show=False)


def test_another_bundle_as_base(bundle: Bundle, tmp_path: Path) -> None:
    base = make_bundle(tmp_path / "residual", training=training_spec("residual", seed=4))
    evaluation = prepare(options(bundle, tmp_path / "e", base=base.path, base_chunk=False))
    results = evaluate(evaluation, tmp_path / "e", workers=1, make_worker=scripted(evaluation), show=False)
    assert {record["method"] for record in results["records"]} == {"residual", "dygro"}
    assert results["paired_differences"]["all"]["difference"] == 0.0


def test_one_bundle_alone_has_no_difference(bundle: Bundle, tmp_path: Path) -> None:
    evaluation = prepare(options(bundle, tmp_path / "e", base_chunk=False))
    results = evaluate(evaluation, tmp_path / "e", workers=1, make_worker=scripted(evaluation), show=False)
    assert results["paired_differences"] == {}
    assert list(results["rates"]) == ["policy"]


def test_a_base_policy_has_no_gates(tmp_path: Path) -> None:
    golden = golden_frames()
    bare = write_bundle(
        tmp_path / "base",
        contract().model_copy(
            update={
                "training": training_spec("base"),
                "residual": contract().residual.model_copy(
                    update={"arm_bound": 0.0, "gripper_bound": 0.0, "experts": 1, "active_experts": 0}
                ),
                "graph": contract().graph.model_copy(
                    update={
                        "outputs": tuple(
                            spec.model_copy(update={"shape": (1, 1)}) if spec.name == "gates" else spec
                            for spec in contract().graph.outputs
                        )
                    }
                ),
            }
        ),
        _without_gates(),
        dataclasses.replace(golden, chunk=golden.base_chunk, gates=np.zeros((3, 1), np.float32)),
    )
    evaluation = prepare(options(bare, tmp_path / "e", base_chunk=False))
    results = evaluate(evaluation, tmp_path / "e", workers=1, make_worker=scripted(evaluation), show=False)
    assert results["gates"] is None
    assert results["episodes"][0]["top_experts"] == []
    assert gate_sentence(results) == "The policy has no router."


def _without_gates() -> bytes:
    """The small policy as a base policy: its base chunk twice, and one gate that is zero."""
    import onnx

    model = onnx.load_from_string(graph_bytes())
    model.graph.output[2].type.tensor_type.shape.dim[1].dim_value = 1
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    tensors["gate_values"].CopyFrom(onnx.numpy_helper.from_array(np.zeros((1, 1), np.float32), "gate_values"))
    tensors["residual"].CopyFrom(onnx.numpy_helper.from_array(np.zeros(14, np.float32), "residual"))
    data: bytes = model.SerializeToString()
    return data


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ("place_empty_cups",)}, "unknown task 'place_empty_cups' in --tasks .*did you mean"),
        ({"tasks": ()}, "--tasks must name a task"),
        ({"episodes": 0}, "--episodes must be at least 1"),
        ({"workers": 0}, "--workers must be at least 1"),
        ({"films_per_task": -1}, "--films-per-task"),
        ({"run": Path("nowhere")}, "--run nowhere: expected the run folder"),
        ({"randomization": "clear"}, "unknown randomization 'clear'"),
        ({"evaluation_seed": 1000}, r"seed must be in 0\.\.999"),
        ({"base": Path("nowhere")}, "exclude each other"),
        ({"base": Path("nowhere"), "base_chunk": False}, "nowhere is not a folder"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    bundle: Bundle, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        prepare(options(bundle, tmp_path / "e", **changes))
    assert not (tmp_path / "e").exists()


def test_the_provider_is_tried_first_reaches_the_workers_and_belongs_to_the_plan(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    refused = pytest.raises(DependencyError, match="provider 'cuda' needs CUDAExecutionProvider")
    with refused:
        prepare(options(bundle, tmp_path / "e", provider="cuda"))
    on_cpu = prepare(options(bundle, tmp_path / "e"))
    on_gpu = dataclasses.replace(on_cpu, provider="cuda")
    with refused:
        evaluate(on_gpu, tmp_path / "e", workers=1, show=False)
    with pytest.raises(RunFolderError, match='provider was "cuda", now "cpu"'):
        evaluate(on_cpu, tmp_path / "e", workers=1, make_worker=scripted(on_cpu), show=False)


def test_a_bundle_against_itself_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="say --base-chunk"):
        prepare(options(bundle, tmp_path, base=bundle.path, base_chunk=False))


def test_the_table_shows_both_policies_on_eighty_columns(bundle: Bundle, tmp_path: Path) -> None:
    evaluation = prepare(options(bundle, tmp_path))
    results = evaluate(evaluation, tmp_path / "e", workers=1, make_worker=scripted(evaluation), show=False)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(result_table(results))
    text = console.export_text()
    lines = [line for line in text.splitlines() if "place_empty_cup" in line or "all tasks" in line]
    assert len(lines) == 2
    rates = results["rates"]
    for line, task in zip(lines, ("place_empty_cup", "all"), strict=True):
        assert f"{100 * rates['base'][task]['rate']:.1f} (" in line
        assert f"{100 * rates['policy'][task]['rate']:.1f} (" in line


def test_all_stands_for_the_four_tasks(bundle: Bundle, tmp_path: Path) -> None:
    assert len(prepare(options(bundle, tmp_path, tasks=("all",))).tasks) == 4
    assert prepare(options(bundle, tmp_path, tasks=(*TASKS, *TASKS))).tasks == TASKS


def test_the_whole_command_in_the_real_cell(bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "e"
    real = options(
        bundle, out, tasks=("pick_dual_bottles",), episodes=1, workers=1, report=True, films_per_task=1
    )
    assert run(real, ["BUNDLE", "--out", "e"]) == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "episodes.jsonl", "films.png", "plan.json", "report.html", "results.json"
    ]  # fmt: skip
    results = json.loads((out / "results.json").read_text())
    assert results["command"] == "python -m sim2real.evaluate_sim BUNDLE --out e"
    assert results["episodes"][0]["steps"] == STEP_LIMITS["pick_dual_bottles"]


def test_the_command_ends_with_one_sentence_and_code_two(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sim2real.evaluate_sim", str(tmp_path / "none"), "--out", str(tmp_path / "e")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "expected a policy bundle" in done.stderr
    assert not (tmp_path / "e").exists()
