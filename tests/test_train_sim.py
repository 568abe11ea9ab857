"""The command as a researcher types it, in miniature: every stage, resuming, and the user's mistakes."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from dygro_ros.bundle import read_bundle
from dygro_ros.errors import DependencyError, UserError
from training import whole_run
from training.config import TrainConfig
from training.episode_file import read_episode, write_episode
from training.processes import Processes

ROOT = Path(__file__).resolve().parents[1]
DEMONSTRATIONS = (
    "--demonstrations.episodes", "2", "--demonstrations.companion-episodes", "0",
    "--demonstrations.image-size", "32",
)  # fmt: skip
RECORDED = (
    "--preset", "quick", "--tasks", "place_empty_cup", "pick_dual_bottles",
    "--network.image-size", "32", "--network.width", "32",
    "--network.layers", "1", "--network.keypoints", "4",
    "--pretrain.steps", "6", "--pretrain.batch-size", "16", "--pretrain.head-refinement.steps", "3",
    "--online.environment-steps", "1500", "--online.warmup-episodes", "6", "--online.episodes", "4",
    "--off-policy.warmup-critic-updates", "6", "--off-policy.warmup-actor-updates", "3",
    "--off-policy.learner.batch", "32", "--evaluation.episodes", "2",
)  # fmt: skip
MINIATURE = (*RECORDED, *DEMONSTRATIONS)


# As `torchrun`; `--` keeps it from taking --run for an abbreviation of its own --run-path.
TWO_PROCESSES = (
    "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2", "--"
)  # fmt: skip


def command(*arguments: str, starter: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *starter, str(ROOT / "training" / "train_sim.py"), *arguments],
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, "COLUMNS": "200", "GLOO_SOCKET_IFNAME": "lo"},
        timeout=280,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train") / "run"
    result = command("--run", str(folder), *MINIATURE)
    assert result.returncode == 0, result.stderr[-3000:]
    return folder


def test_one_command_ends_with_a_bundle_and_a_report(run):
    bundle = read_bundle(run / "bundle")
    assert bundle.manifest.training.method == "dygro"
    assert bundle.manifest.training.environment_steps >= 1500
    assert read_bundle(run / "base_bundle").manifest.training.method == "base"
    results = json.loads((run / "evaluation" / "results.json").read_text())
    assert {record["method"] for record in results["records"]} == {"base", "dygro"}
    assert (run / "evaluation" / "report.html").stat().st_size > 10_000
    assert (run / "evaluation" / "films.png").is_file()


def test_resuming_a_finished_run_changes_nothing(run):
    before = (run / "bundle" / "policy.onnx").read_bytes(), (run / "stage_two" / "online.jsonl").read_text()
    result = command("--run", str(run), *MINIATURE, "--resume")
    assert result.returncode == 0, result.stderr[-3000:]
    after = (run / "bundle" / "policy.onnx").read_bytes(), (run / "stage_two" / "online.jsonl").read_text()
    assert before == after


def test_another_method_shares_the_base(run, tmp_path):
    arguments = [*MINIATURE, "--run", str(tmp_path / "sft"), "--method", "sft", "--base-run", str(run)]
    result = command(*arguments, "--sft.steps", "4", "--pretrain.log-every", "1")
    assert result.returncode == 0, result.stderr[-3000:]
    assert not (tmp_path / "sft" / "demonstrations").exists()
    assert read_bundle(tmp_path / "sft" / "bundle").manifest.training.environment_steps == 0


def test_two_processes_share_stage_one_and_the_supervised_baseline(tmp_path):
    """Each waits for the other at every gradient step: one that leaves early, or leads too, ends the run."""
    folder = tmp_path / "run"
    fewer = (
        "--tasks", "place_empty_cup", "--evaluation.episodes", "1", "--pretrain.log-every", "1",
        "--sft.steps", "3", "--workers", "1",
    )  # fmt: skip
    arguments = (*MINIATURE, *fewer, "--run", str(folder), "--method", "sft")
    result = command(*arguments, starter=TWO_PROCESSES)
    assert result.returncode == 0, result.stderr[-3000:]
    for stage, steps in (("stage_one", 6), ("stage_two", 3)):
        records = [json.loads(line) for line in (folder / stage / "pretrain.jsonl").read_text().splitlines()]
        assert [r["step"] for r in records if "cloning_loss" in r] == list(range(1, steps + 1))
    assert read_bundle(folder / "bundle").manifest.training.method == "sft"
    assert (folder / "evaluation" / "results.json").is_file()


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra ray is not installed")
def test_rollouts_and_learner_on_ray_train_the_same_policy(run, tmp_path):
    there = tmp_path / "ray"
    arguments = [*MINIATURE, "--run", str(there), "--base-run", str(run), "--workers", "1"]
    result = command(*arguments, "--rollouts", "ray", "--learner", "ray")
    assert result.returncode == 0, result.stderr[-3000:]
    for name in ("online.jsonl", "warmup.jsonl"):
        assert (there / "stage_two" / name).read_text() == (run / "stage_two" / name).read_text()
    states = [load_file(folder / "final" / "state.safetensors") for folder in (run, there)]
    assert states[0].keys() == states[1].keys()
    assert all(states[0][name].equal(states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--rollouts", "ray", "--ray.address", "127.0.0.1:9"),
            "nothing answers at --ray.address 127.0.0.1:9",
        ),
        (("--tasks", "juggle"), "unknown task 'juggle' in --tasks"),
        (("--preset", "giga"), "unknown preset 'giga'"),
        (("--randomization", "wild"), "wild"),
        (("--method", "magic"), "magic"),
        (("--no-such-option", "1"), "no-such-option"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(tmp_path, arguments, words):
    result = command("--run", str(tmp_path / "x"), *arguments)
    assert result.returncode == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "x").exists()


def test_what_runs_the_frozen_policy_is_tried_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(whole_run, "claimed", lambda _: pytest.fail("the run has begun"))
    config = replace(TrainConfig(), run=tmp_path / "run", device="cuda").resolved()
    with pytest.raises(DependencyError, match="pip install onnxruntime-gpu"):
        whole_run.train(config)


def test_a_batch_that_the_processes_cannot_share_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(whole_run, "claimed", lambda _: pytest.fail("the run has begun"))
    monkeypatch.setattr(whole_run, "joined", lambda _: nullcontext(Processes(count=6)))
    config = replace(TrainConfig(), run=tmp_path / "run").resolved()
    with pytest.raises(UserError, match=r"--pretrain\.batch-size 64 must be a multiple of 6 processes"):
        whole_run.train(config)


def test_a_step_limit_that_was_too_short_is_mended_in_the_same_folder(run, tmp_path, monkeypatch):
    def begin(*_):
        raise KeyboardInterrupt("Stage I")

    monkeypatch.setattr(whole_run, "make_base_policy", begin)
    folder = tmp_path / "run"
    arguments = [*MINIATURE, "--run", str(folder)]
    folder.mkdir()
    shutil.copytree(run / "demonstrations", folder / "demonstrations")
    with pytest.raises(UserError, match=r"--online\.step-limit must leave time .*: got 3"):
        whole_run.train(whole_run.parse([*arguments, "--online.step-limit", "3"]))
    with pytest.raises(KeyboardInterrupt, match="Stage I"):
        whole_run.train(whole_run.parse([*arguments, "--online.step-limit", "400"]))
    assert json.loads((folder / "config.json").read_text())["online"]["step_limit"] == 400
    for path in (run / "demonstrations").glob("**/*.hdf5"):
        assert (folder / path.relative_to(run)).read_bytes() == path.read_bytes()


def test_a_run_is_not_overwritten(run):
    result = command("--run", str(run), *MINIATURE)
    assert result.returncode == 2
    assert "go on with --resume, or delete it with --overwrite" in result.stderr


@pytest.fixture(scope="module")
def recorded(run, tmp_path_factory):
    """The run's demonstrations as RoboTwin would have them: no simulator state, a rate that is not ours."""
    folder = tmp_path_factory.mktemp("recorded")
    for index, path in enumerate(sorted((run / "demonstrations").glob("**/*.hdf5"))):
        record = replace(read_episode(path), rate_hz=15, executed=None, privileged=None, task=None, seed=None)
        write_episode(folder / f"episode_{index:07d}.hdf5", record)
    return folder


def test_recorded_demonstrations_stand_in_for_ours(recorded, tmp_path):
    arguments = ["--recorded.folder", str(recorded)]
    refused = command("--run", str(tmp_path / "refused"), *RECORDED, *arguments)
    assert refused.returncode == 2
    assert "must be 25 Hz, found 15 Hz: say the true rate by --recorded.rate-hz" in refused.stderr
    assert not (tmp_path / "refused").exists()
    arguments += ["--recorded.rate-hz", "16.667"]
    refused = command("--run", str(tmp_path / "refused"), *RECORDED, *arguments)
    assert refused.returncode == 2
    remedy = ["--pretrain.lambda-objects", "0", "--off-policy.learner.offline-fraction", "0"]
    assert "episode_0000000.hdf5 holds no simulator state" in refused.stderr
    assert f"do without it by {' '.join(remedy)}" in refused.stderr
    assert not (tmp_path / "refused").exists()
    result = command("--run", str(tmp_path / "run"), *RECORDED, *arguments, *remedy)
    assert result.returncode == 0, result.stderr[-3000:]
    assert not (tmp_path / "run" / "demonstrations").exists()
    assert read_bundle(tmp_path / "run" / "bundle").manifest.training.method == "dygro"
