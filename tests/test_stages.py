"""What the stages of a run hand on to each other's tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sim2real.evaluate_sim import EvaluateSim
from training import stages
from training.config import TrainConfig


def test_the_evaluation_runs_on_the_device_that_the_bundle_was_checked_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[tuple[EvaluateSim, Sequence[str]]] = []
    monkeypatch.setattr(stages, "run_evaluation", lambda *given: handed.append(given))
    config = replace(TrainConfig(), run=tmp_path, device="cuda")
    stages.evaluate(config, tmp_path / "bundle", tmp_path / "base")
    ((options, arguments),) = handed
    assert options.provider == "cuda"
    assert arguments[arguments.index("--provider") + 1] == "cuda"
