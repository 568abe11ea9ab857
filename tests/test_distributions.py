"""A library is found under whichever name its build was installed."""

from importlib import metadata

import numpy as np
import pytest

from dygro_ros.distributions import installed


def test_a_library_is_found_as_the_distribution_that_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed("numpy") == ("numpy", np.__version__)
    there = {"onnxruntime-gpu": "1.23.2"}

    def version(name: str) -> str:
        if name not in there:
            raise metadata.PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(metadata, "version", version)
    assert installed("onnxruntime") == ("onnxruntime-gpu", "1.23.2")
    there["onnxruntime"] = "1.22.0"
    assert installed("onnxruntime") == ("onnxruntime", "1.22.0")
    with pytest.raises(metadata.PackageNotFoundError, match="numpy"):
        installed("numpy")
