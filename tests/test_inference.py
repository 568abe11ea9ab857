"""ONNX Runtime behind a bundle: the right answers, and a refusal of anything else."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from policy_fixtures import answer, contract, golden_frames, graph_bytes, make_bundle, random_frames

from dygro_ros import inference
from dygro_ros.bundle import Bundle, verify_golden, write_bundle
from dygro_ros.errors import BundleError, DependencyError, UserError
from dygro_ros.inference import OnnxPolicy, PolicyInputError, PolicyOutputError
from dygro_ros.layout import encode_instruction


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A sound bundle."""
    return make_bundle(tmp_path_factory.mktemp("inference") / "bundle")


@pytest.fixture(scope="module")
def policy(bundle: Bundle) -> OnnxPolicy:
    """Its policy."""
    return OnnxPolicy(bundle)


def test_answers_are_those_of_the_training_code(policy: OnnxPolicy) -> None:
    for images, _, proprio in zip(*random_frames(5, seed=3), strict=True):
        found = policy.infer(images, "stack the bowls", proprio)
        chunk, base_chunk, gates, embedding = answer(images, encode_instruction("stack the bowls"), proprio)
        np.testing.assert_allclose(found.chunk, chunk, atol=1e-5)
        np.testing.assert_allclose(found.base_chunk, base_chunk, atol=1e-5)
        np.testing.assert_allclose(found.gates, gates, atol=1e-6)
        np.testing.assert_allclose(found.task_embedding, embedding, atol=1e-6)
        assert not np.array_equal(found.chunk, found.base_chunk)


def test_golden_frames_agree(bundle: Bundle, policy: OnnxPolicy) -> None:
    assert verify_golden(bundle, policy).max() < 1e-5


def test_answers_cannot_be_changed(policy: OnnxPolicy) -> None:
    images, text, proprio = (part[0] for part in random_frames(1))
    found = policy.infer_arrays(images, text, proprio)
    with pytest.raises(ValueError, match="read-only"):
        found.chunk[0, 0] = 0.0


def test_latency_comes_from_the_clock(bundle: Bundle) -> None:
    ticks = itertools.count()
    policy = OnnxPolicy(bundle, clock=lambda: next(ticks) * 0.5)
    images, text, proprio = (part[0] for part in random_frames(1))
    assert policy.infer_arrays(images, text, proprio).latency_s == 0.5
    assert policy.warm_up_s == (0.5, 0.5)


def test_pictures_that_are_not_contiguous_are_read_right(policy: OnnxPolicy) -> None:
    images, text, proprio = (part[0] for part in random_frames(1))
    flipped = images[:, :, :, ::-1]
    found = policy.infer_arrays(flipped, text, proprio)
    np.testing.assert_allclose(found.chunk, answer(flipped, text, proprio)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((16, 16, 3), np.uint8)}, r"images must be uint8 of shape \(1, 16, 16, 3\), got"),
        ({"images": np.zeros((2, 16, 16, 3), np.uint8)}, "images must be"),
        ({"images": np.zeros((1, 16, 16, 3), np.float32)}, "got float32"),
        ({"images": [[0]]}, "got list"),
        ({"proprio": np.zeros(14)}, r"proprio must be float32 of shape \(14,\), got float64"),
        ({"proprio": np.zeros(13, np.float32)}, "proprio must be"),
        ({"proprio": np.full(14, np.nan, np.float32)}, "proprio must be finite, got nan at index 0"),
        ({"instruction": ""}, "1 to 96 UTF-8 bytes"),
        ({"instruction": "ü" * 49}, "1 to 96 UTF-8 bytes"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused(
    policy: OnnxPolicy, change: dict[str, Any], message: str
) -> None:
    images, _, proprio = (part[0] for part in random_frames(1))
    frame = {"images": images, "instruction": "go", "proprio": proprio, **change}
    with pytest.raises(PolicyInputError, match=message):
        policy.infer(**frame)


def test_a_graph_that_answers_nan_is_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(graph_bytes())
    step = next(node for node in model.graph.node if list(node.output) == ["task_embedding"])
    step.output[0] = "bytes_of_text"
    model.graph.node.append(onnx.helper.make_node("Log", ["bytes_of_text"], ["task_embedding"]))
    golden = golden_frames()
    bundle = write_bundle(tmp_path / "b", contract(), model.SerializeToString(), golden)
    policy = OnnxPolicy(bundle)
    with pytest.raises(PolicyOutputError, match="task_embedding"):
        policy.infer(golden.images[0], "a", golden.proprio[0])


def test_a_graph_of_other_shapes_is_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(graph_bytes())
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 32
    bundle = write_bundle(tmp_path / "b", contract(), model.SerializeToString(), golden_frames())
    with pytest.raises(BundleError, match=r"graph.inputs\[0\].shape\[2\] is 16 in the manifest, .* 32"):
        OnnxPolicy(bundle)


def test_a_graph_of_other_names_is_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(graph_bytes())
    outputs = [model.graph.output[i] for i in (1, 0, 2, 3)]
    swapped = [copy for copy in map(onnx.ValueInfoProto.FromString, [o.SerializeToString() for o in outputs])]
    del model.graph.output[:]
    model.graph.output.extend(swapped)
    bundle = write_bundle(tmp_path / "b", contract(), model.SerializeToString(), golden_frames())
    with pytest.raises(BundleError, match=r"graph.outputs\[0\].name is 'chunk'"):
        OnnxPolicy(bundle)


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", contract(), b"no graph", golden_frames())
    with pytest.raises(BundleError, match="cannot load the graph"):
        OnnxPolicy(bundle)


def test_a_provider_that_is_not_installed_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DependencyError, match="pip install onnxruntime-gpu"):
        OnnxPolicy(bundle, provider="cuda")
    with pytest.raises(UserError, match="unknown provider"):
        OnnxPolicy(bundle, provider="gpu")  # type: ignore[arg-type]


def test_a_silent_fallback_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(inference.PROVIDERS.values()))
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, providers: real(path, options, providers=["CPUExecutionProvider"]),
    )
    with pytest.raises(DependencyError, match="the session runs on CPUExecutionProvider"):
        OnnxPolicy(bundle, provider="cuda")


def test_providers_on_gpus_keep_their_engines_and_compute_as_on_cpus(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def refuse(path: str, options: object, providers: list[object]) -> None:
        asked.extend(providers)
        raise inference.onnxruntime_state.Fail("no GPU here")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(inference.PROVIDERS.values()))
    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    for provider in ("tensorrt", "cuda"):
        with pytest.raises(BundleError, match="no GPU here"):
            OnnxPolicy(bundle, provider=provider)
    folder = tmp_path / "dygro_ros" / "engines" / "onnxruntime"
    options = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)}
    exact = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    assert asked == [("TensorrtExecutionProvider", options), ("CUDAExecutionProvider", exact)]
    assert folder.is_dir()


def test_the_running_provider_is_logged(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="dygro_ros.inference"):
        policy = OnnxPolicy(bundle)
    assert policy.running_provider == "CPUExecutionProvider"
    assert "CPUExecutionProvider" in caplog.text
