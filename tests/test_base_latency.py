"""The table of benchmarks/base_latency.py: each row says what it took itself, and why it is empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch

from benchmarks import base_latency
from benchmarks.base_latency import Row, graph_row, show, timed, torch_row
from dygro_ros.errors import BundleError, DependencyError


class FakeGpu:
    """Counts memory as torch and the driver do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.peak, self.free = 900, 1000
        monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: self.use(0, reset=True))
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: self.peak)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (self.free, 2000))

    def use(self, amount: int, *, reset: bool = False) -> None:
        self.peak = 0 if reset else max(self.peak, amount)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    return FakeGpu(monkeypatch)


class Session:
    """Takes memory while it opens, and more while it runs."""

    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu = gpu
        gpu.free -= 70
        self.runs = 0

    def run(self, outputs: Sequence[str], feed: Mapping[str, Any]) -> None:
        self._gpu.free -= 30 if not self.runs else 0
        self.runs += 1


def test_a_row_of_torch_counts_neither_earlier_rows_nor_compilation(gpu: FakeGpu) -> None:
    calls = []

    def policy(*inputs: object) -> None:
        calls.append(inputs)
        gpu.use(500 if len(calls) == 1 else 40)

    row = torch_row("torch.compile", policy, (1, 2, 3), 7, "cuda")  # type: ignore[arg-type]
    assert (row.memory_bytes, len(row.times_s or ())) == (40, 7)
    assert calls[-1] == (1, 2, 3)


def test_a_graphs_row_has_what_it_took_from_the_gpu(gpu: FakeGpu) -> None:
    row = graph_row("ONNX Runtime", lambda: Session(gpu), {}, 4, "cuda")
    assert (row.memory_bytes, len(row.times_s or ())) == (100, 4)


def test_an_empty_row_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    def missing() -> None:
        raise DependencyError("pip install tensorrt cuda-python")

    def unreadable() -> None:
        raise BundleError("TensorRT cannot read the graph")

    rows = [graph_row("TensorRT engine", opens, {}, 4, "cpu") for opens in (missing, unreadable)]
    rows.append(torch_row("CUDA graph", torch.nn.Identity(), (), 1, "cpu", graph=True))  # type: ignore[arg-type]
    for row in rows:
        show(row, None)
    printed = capsys.readouterr().out.splitlines()
    for line, reason in zip(
        printed,
        ("not installed: pip install tensorrt cuda-python", "TensorRT cannot read the graph", "no GPU"),
        strict=True,
    ):
        assert line.endswith(f"| - | - | - | - | - | {reason} |")


def test_memory_is_not_measured_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    show(Row("eager", timed(lambda: None, 3, "cpu"), base_latency.peak_bytes("cpu")), (1.0, 2.0))
    assert capsys.readouterr().out.rstrip().endswith("| 0.0 | 0.0 | - | |")
