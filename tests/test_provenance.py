"""What the ledger opens with."""

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from evaluation_fixtures import plan_with
from policy_fixtures import make_bundle

from dygro_ros.evaluation.provenance import provenance


def test_the_gpus_build_of_onnx_runtime_is_the_library_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    plan = plan_with(tmp_path, policies={"new": {"bundle": "bundle"}})
    real = metadata.version

    def version(name: str) -> str:
        if name == "onnxruntime":
            raise metadata.PackageNotFoundError(name)
        return "1.23.2" if name == "onnxruntime-gpu" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    found = provenance(plan)
    assert found["bundles"] == [bundle.fingerprint]
    assert found["software"]["numpy"] == np.__version__
    assert found["software"]["onnxruntime"] == "1.23.2"
