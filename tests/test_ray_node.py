from importlib import metadata

import numpy as np
import pytest

from dygro_ros.errors import UserError
from training.frozen_base import GRAPH_FILE
from training.ray_node import BaseFiles, answered, check_versions, result_of, versions
from training.ray_rollouts import RolloutActor
from training.stage_one import CONFIG_FILE, WEIGHTS_FILE


def test_files_arrive_as_they_were_and_are_gone_afterwards(tmp_path):
    for name in (CONFIG_FILE, WEIGHTS_FILE, GRAPH_FILE):
        (tmp_path / name).write_bytes(name.encode() + bytes(range(256)))
    (tmp_path / "checkpoint").mkdir()
    with BaseFiles.read(tmp_path, graph=True).unpacked() as folder:
        assert {path.name for path in folder.iterdir()} == {CONFIG_FILE, WEIGHTS_FILE, GRAPH_FILE}
        for path in folder.iterdir():
            assert path.read_bytes() == (tmp_path / path.name).read_bytes()
    assert not folder.exists()
    assert GRAPH_FILE not in BaseFiles.read(tmp_path, graph=False).contents


def test_the_versions_name_what_decides_the_bits():
    found = versions()
    assert found["numpy"] == np.__version__
    assert not any("+" in value for value in found.values())
    assert {"Python", "torch", "mujoco", "onnxruntime", "the dygro_ros code"} <= found.keys()
    check_versions(found)


def test_a_node_may_have_either_build_of_onnx_runtime(monkeypatch):
    before, real = versions(), metadata.distribution

    def distribution(name):
        if name == "onnxruntime":
            raise metadata.PackageNotFoundError(name)
        return real(name.removesuffix("-gpu"))

    monkeypatch.setattr(metadata, "distribution", distribution)
    assert versions() == before
    check_versions(before)


def test_changed_code_has_another_version(tmp_path, monkeypatch):
    source = tmp_path / "training" / "ray_node.py"
    source.parent.mkdir()
    source.write_text("a = 1")
    monkeypatch.setattr("training.ray_node.__file__", str(source))
    before = versions()
    source.write_text("a = 2")
    assert versions() != before


def test_a_node_with_another_version_refuses_before_it_does_anything():
    answer = RolloutActor().prepare(None, None, {"torch": "1.0.0"})
    with pytest.raises(
        UserError, match=r"^node \S+ has another version of torch: 2\S+ there, 1.0.0 on the machine"
    ):
        result_of(answer)


def test_only_errors_of_the_user_travel_as_sentences():
    assert result_of(answered(lambda: 5)) == 5
    with pytest.raises(ZeroDivisionError):
        answered(lambda: 1 / 0)
