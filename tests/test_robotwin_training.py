"""A whole run in RoboTwin, in miniature: recorded demonstrations, both stages, a truthful evaluation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from robotwin_fixtures import make_installation

from dygro_ros.layout import GRIPPER_INDICES, JOINT_LOWER, JOINT_UPPER
from sim2real.robotwin.world import RobotwinWorld
from sim2real.robotwin.world_file import write_world
from training.episode_file import write_episode
from training.episode_record import EpisodeRecord

ROOT = Path(__file__).resolve().parents[1]
TASKS = ["lift_pot", "beat_block_hammer"]
FRAMES = 12
MINIATURE = (
    "--world", "robotwin", "--workers", "1",
    "--network.image-size", "32", "--network.width", "32", "--network.layers", "1",
    "--network.keypoints", "4",
    "--pretrain.steps", "4", "--pretrain.batch-size", "16", "--pretrain.head-refinement.steps", "3",
    "--online.environment-steps", "60", "--online.warmup-episodes", "2", "--online.episodes", "2",
    "--online.validate-every", "0",
    "--off-policy.warmup-critic-updates", "2", "--off-policy.warmup-actor-updates", "2",
    "--off-policy.learner.batch", "4", "--evaluation.episodes", "4",
)  # fmt: skip
STATELESS = ("--pretrain.lambda-objects", "0", "--off-policy.learner.offline-fraction", "0")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "training" / "train_sim.py"), *arguments],
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, "COLUMNS": "200"},
        timeout=280,
    )


@pytest.fixture
def given(tmp_path: Path) -> tuple[str, ...]:
    """A measured world, and the stand-in's solution recorded as RoboTwin's files hold it."""
    world = RobotwinWorld(
        make_installation(tmp_path), tuple(TASKS), tuple(JOINT_LOWER.tolist()), tuple(JOINT_UPPER.tolist())
    )
    write_world(world, tmp_path / "robotwin.json")
    data = tmp_path / "data"
    data.mkdir()
    for episode in range(2):
        joints = np.zeros((FRAMES + 1, 14), np.float32)
        joints[:, list(GRIPPER_INDICES)] = 1.0
        joints[:, 1] = np.linspace(0, 0.25, FRAMES + 1)
        images = np.zeros((FRAMES, 1, 240, 320, 3), np.uint8)
        images[..., 2] = 255
        images[:, :, :, 40:280] = (200, 100, 10)
        record = EpisodeRecord(
            instructions=("hit the block",),
            rate_hz=15,
            proprio=joints[:-1],
            action=joints[1:],
            cameras=("head_camera",),
            images=images,
        )
        write_episode(data / f"episode_{episode:07d}.hdf5", record)
    recorded = ("--recorded.folder", str(data), "--recorded.rate-hz", "16.667")
    return ("--robotwin.world", str(tmp_path / "robotwin.json"), *recorded)


def test_a_whole_run_ends_with_both_policies_evaluated_on_seeds_that_count(
    given: tuple[str, ...], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = command("--run", str(run), *MINIATURE, *given, *STATELESS)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "lift_pot: 4 seeds count among 100000 .. 100004; passed over: 100003 (unstable" in done.stdout
    results = json.loads((run / "evaluation" / "results.json").read_text())
    assert [(e["role"], e["task"], e["seed"]) for e in results["episodes"]] == [
        (role, task, seed)
        for role in ("base", "policy")
        for seed in (100_000, 100_001, 100_002, 100_004)
        for task in TASKS
    ]
    passed_over = results["plan"]["seeds_passed_over"]
    assert [list(passed_over[task]) for task in TASKS] == [["100003"], ["100003"]]
    assert results["rates"]["policy"]["all"]["episodes"] == 8
    assert (run / "evaluation" / "films.png").is_file() and "left out" not in done.stdout
    assert "(passed over: 2)" in (run / "evaluation" / "report.html").read_text()
    assert not (run / "bundle").exists() and not (run / "demonstrations").exists()
    config = json.loads((run / "config.json").read_text())
    assert config["tasks"] == config["robotwin"]["measured"]["tasks"] == TASKS


def test_a_run_that_cannot_be_is_refused_before_its_folder_is_made(
    given: tuple[str, ...], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for arguments, words in (
        (given, f"holds no simulator state of the world 'robotwin': do without it by {' '.join(STATELESS)}"),
        (given[:2], "--recorded.folder must name a dataset"),
    ):
        refused = command("--run", str(run), *MINIATURE, *arguments)
        assert refused.returncode == 2, refused.stderr[-3000:]
        assert words in refused.stderr and "Traceback" not in refused.stderr
        assert not run.exists()
