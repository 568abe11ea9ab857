"""What RoboTwin's interpreter lacks is named, with the command that mends it."""

from importlib import metadata

import pytest

from dygro_ros.errors import DependencyError
from sim2real.robotwin import versions


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The distributions that seem to be installed."""
    found: dict[str, str] = {}

    def version(name: str) -> str:
        if name not in found:
            raise metadata.PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(metadata, "version", version)
    return found


def test_what_robotwin_installs_passes(installed: dict[str, str]) -> None:
    installed |= {"sapien": "3.0.0b1", "mplib": "0.2.1", "nvidia-curobo": "0.7.9.dev0+g1234567"}
    versions.require(versions.SIMULATOR, "mend")
    installed |= {"numpy": "1.26.4", "onnxruntime": "1.23.2", "pydantic": "2.11.0", "PyYAML": "6.0"}
    versions.require(versions.POLICY, "mend")


def test_all_that_is_wrong_is_named_with_the_remedy(installed: dict[str, str]) -> None:
    installed |= {"sapien": "3.0.1", "nvidia-curobo": "0.70.1"}
    with pytest.raises(DependencyError) as caught:
        versions.require(versions.SIMULATOR, versions.SIMULATOR_REMEDY)
    message = str(caught.value)
    assert "sapien must be 3.0.0b1, found 3.0.1; mplib 0.2.1 is missing; nvidia-curobo must" in message
    assert message.endswith(f": {versions.SIMULATOR_REMEDY}")
    with pytest.raises(DependencyError, match=r"onnxruntime is missing.*pip install onnxruntime"):
        versions.require(versions.POLICY, versions.policy_remedy())


def test_the_gpus_build_of_onnx_runtime_is_taken_and_stays(installed: dict[str, str]) -> None:
    installed |= {"numpy": "1.26.4", "onnxruntime-gpu": "1.23.2", "pydantic": "2.11.0", "PyYAML": "6.0"}
    versions.require(versions.POLICY, "mend")
    del installed["pydantic"]
    with pytest.raises(DependencyError, match=r": pydantic 2 is missing: .*pip install onnxruntime-gpu "):
        versions.require(versions.POLICY, versions.policy_remedy())
