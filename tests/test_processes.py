"""Two processes compute the training that one computes, on the joint batch; and who may not join is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import stage_one_processes
import torch
from safetensors.torch import load_file

from dygro_ros.errors import UserError
from training.augmentation import jitter_colours
from training.processes import ALONE, Processes, joined

ROOT = Path(__file__).resolve().parents[1]
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    """Losses and weights, the information bound included, which is no mean over frames."""
    script = ROOT / "tests" / "stage_one_processes.py"
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    stage_one_processes.main(tmp_path / "one")
    ran = subprocess.run(
        [sys.executable, *TORCHRUN, str(script), str(tmp_path / "two")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stderr
    one, two = (json.loads((tmp_path / name / "losses.json").read_text()) for name in ("one", "two"))
    assert (one["count"], two["count"]) == (1, 2)
    for alone, together in zip(one["losses"], two["losses"], strict=True):
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-6)
    assert all(record["information_nat"] != 0 for record in one["losses"])
    first, second = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-3, atol=2e-5, msg=name)


def test_rows_of_all_processes_are_the_batch() -> None:
    batch = list(range(12))
    assert [row for rank in range(3) for row in batch[Processes(rank, 3).rows(12)]] == batch
    with pytest.raises(UserError, match=r"--pretrain\.batch-size 10 must be a multiple of 3 processes"):
        Processes(0, 3).rows(10)


def test_alone_nothing_is_wrapped_and_nobody_is_waited_for() -> None:
    module = torch.nn.Linear(2, 2)
    assert ALONE.wrap(module) is module
    assert ALONE.gather(module.weight) is module.weight
    ALONE.average_gradients(module)
    ALONE.wait()
    with joined("cpu", {}) as processes:
        assert processes == ALONE
        assert processes.main


def test_rows_of_an_augmented_batch_are_those_of_the_whole() -> None:
    images = torch.randint(0, 256, (6, 2, 4, 4, 3), dtype=torch.uint8)
    torch.manual_seed(3)
    whole = jitter_colours(images, 0.1, 0.1, 0.1)
    torch.manual_seed(3)
    assert torch.equal(jitter_colours(images, 0.1, 0.1, 0.1, slice(2, 4)), whole[2:4])


def test_a_missing_gpu_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    says = "--device cuda needs 2 GPU.*sees 1: choose --device cpu"
    torchrun = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "::1", "MASTER_PORT": "1"}
    with pytest.raises(UserError, match=says), joined("cuda", torchrun):
        pass


def test_a_schedulers_world_size_alone_is_told_with_what_to_do() -> None:
    says = "WORLD_SIZE is 2, but RANK, MASTER_ADDR, MASTER_PORT not set: start it by torchrun"
    with pytest.raises(UserError, match=says), joined("cpu", {"WORLD_SIZE": "2", "LOCAL_RANK": "0"}):
        pass
