"""Export of the pretrained backbone, in tiny: weights beside the graph, words by the bundle's tokenizer."""

from __future__ import annotations

import logging
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from policy_fixtures import cameras, training_spec
from test_export import TinyPolicy, facts, golden_inputs
from vision_language_fixtures import PADDING, TEXTS, TOKENS, observation, tiny_codec, tiny_policy

from dygro_ros.bundle import Bundle, read_bundle, verify_golden
from dygro_ros.errors import BundleError
from dygro_ros.inference import OnnxPolicy, PolicyInputError
from dygro_ros.layout import JOINT_LOWER, JOINT_UPPER
from dygro_ros.manifest_section import HALF_PRECISION_TOLERANCE_RAD
from models.dygro_policy import DygroPolicy
from models.half_precision import in_half_precision
from sim2real.export import GoldenInputs, PolicyFacts, export_bundle, facts_of, no_residual
from sim2real.onnx_graph import to_onnx
from sim2real.tensorrt_check import why_not_tensorrt

DATA = "policy.onnx.data"
OUTPUTS = ("chunk", "base_chunk", "gates", "task_embedding")


def policy() -> DygroPolicy:
    return DygroPolicy(tiny_policy(cameras=1), None).eval()


def told() -> PolicyFacts:
    size = {"width": 28, "height": 28}
    known = facts_of(policy(), training_spec("base"), tiny_codec())
    assert known.codec.spec.length == TOKENS
    return replace(known, cameras=(cameras()[0].model_copy(update=size),), residual=no_residual())


def frames() -> GoldenInputs:
    rng = np.random.default_rng(5)
    proprio = JOINT_LOWER + rng.random((2, 14)) * (JOINT_UPPER - JOINT_LOWER)
    images = rng.integers(0, 256, (2, 1, 28, 28, 3), dtype=np.uint8)
    return GoldenInputs(images, TEXTS, proprio.astype(np.float32))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """In float32 with its weights beside the graph; a warning fails the export."""
    out = tmp_path_factory.mktemp("base") / "bundle"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return export_bundle(policy(), told(), frames(), out, external_above=0)


def test_the_bundle_answers_as_torch_does_and_the_instruction_decides(bundle: Bundle) -> None:
    onnx_policy, module = OnnxPolicy(bundle), policy()
    assert verify_golden(bundle, onnx_policy).max() <= 1e-4
    images = np.random.default_rng(9).integers(0, 256, (1, 28, 28, 3), dtype=np.uint8)
    proprio = np.full(14, 0.2, np.float32)
    chunks = []
    for text in TEXTS:
        found = onnx_policy.infer(images, text, proprio)
        tokens = torch.from_numpy(tiny_codec().encode(text))[None]
        with torch.no_grad():
            wanted = module(torch.from_numpy(images)[None], tokens, torch.from_numpy(proprio)[None])
        np.testing.assert_allclose(found.chunk, wanted[0][0].numpy(), atol=1e-4)
        np.testing.assert_allclose(found.task_embedding, wanted[3][0].numpy(), atol=1e-3)
        chunks.append(found.chunk)
    assert np.abs(chunks[0] - chunks[1]).max() > 1e-3


def test_weights_lie_beside_the_graph_and_tensorrt_could_run_it(bundle: Bundle) -> None:
    graph = onnx.load(bundle.graph_path, load_external_data=False)
    assert why_not_tensorrt(graph) == []
    outside = [tensor for tensor in graph.graph.initializer if tensor.external_data]
    places = {entry.value for tensor in outside for entry in tensor.external_data if entry.key == "location"}
    assert places == {DATA}
    assert bundle.manifest.files[DATA].bytes == (bundle.path / DATA).stat().st_size
    assert bundle.manifest.files[DATA].bytes > 5 * bundle.manifest.files["policy.onnx"].bytes
    assert not any("lm_head" in tensor.name for tensor in graph.graph.initializer)
    inputs = {value.name: value.type.tensor_type.elem_type for value in graph.graph.input}
    assert inputs["instruction"] == onnx.TensorProto.INT32


def test_no_file_of_the_exports_is_left_over(bundle: Bundle) -> None:
    assert [path.name for path in bundle.path.parent.iterdir()] == ["bundle"]
    assert sorted(path.name for path in bundle.path.iterdir()) == [
        "golden.npz", "manifest.json", "policy.onnx", DATA, "tokenizer.json"
    ]  # fmt: skip


def test_changed_weights_are_refused_by_their_hash(bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(bundle.path, tmp_path / "copy")
    place = tmp_path / "copy" / DATA
    content = bytearray(place.read_bytes())
    content[1000] ^= 1
    place.write_bytes(content)
    with pytest.raises(BundleError, match=r"files\.policy\.onnx\.data\.sha256 is"):
        read_bundle(tmp_path / "copy")
    place.unlink()
    with pytest.raises(BundleError, match=r"files\.policy\.onnx\.data: no such file"):
        read_bundle(tmp_path / "copy")


def test_an_instruction_that_does_not_fit_is_refused(bundle: Bundle) -> None:
    images, proprio = np.zeros((1, 28, 28, 3), np.uint8), np.zeros(14, np.float32)
    with pytest.raises(PolicyInputError, match=f"1 to {TOKENS} tokens"):
        OnnxPolicy(bundle).infer(images, "z" * (TOKENS + 1), proprio)


def test_the_manifest_states_the_encoding(bundle: Bundle) -> None:
    instruction = bundle.manifest.instruction
    assert (instruction.encoding, instruction.length) == ("tokens, padded", TOKENS)
    assert bundle.golden.instruction.dtype == np.int32
    assert (bundle.golden.instruction == PADDING).any()
    assert bundle.manifest.graph.inputs[1].dtype == "int32"


def test_half_precision_stays_near_float32_and_says_what_it_is(tmp_path: Path) -> None:
    made = export_bundle(policy(), told(), frames(), tmp_path / "bundle", precision="float16")
    golden = made.manifest.golden
    assert (golden.precision, golden.tolerance_rad) == ("float16", HALF_PRECISION_TOLERANCE_RAD)
    assert 1e-5 < verify_golden(made, OnnxPolicy(made)).max() <= golden.tolerance_rad
    graph = onnx.load(made.graph_path)
    kinds = {tensor.data_type for tensor in graph.graph.initializer if "layers" in tensor.name}
    assert onnx.TensorProto.FLOAT16 in kinds
    # Golden answers are those of float32 all the same.
    with torch.no_grad():
        first = frames()
        tokens = torch.from_numpy(tiny_codec().encode(TEXTS[0]))[None]
        wanted = policy()(torch.from_numpy(first.images[:1]), tokens, torch.from_numpy(first.proprio[:1]))
    np.testing.assert_array_equal(made.golden.chunk[0], wanted[0][0].numpy())


def test_a_bfloat16_graph_is_valid_and_tensorrt_could_run_it(caplog: pytest.LogCaptureFixture) -> None:
    rounded = DygroPolicy(in_half_precision(policy().base, torch.bfloat16), None).eval()
    with caplog.at_level(logging.WARNING):
        graph = onnx.load_from_string(to_onnx(rounded, observation(cameras=1), OUTPUTS))
    assert caplog.records == []
    sizes = {onnx.TensorProto.BFLOAT16: 0, onnx.TensorProto.FLOAT: 0}
    for tensor in graph.graph.initializer:
        if tensor.data_type in sizes:
            sizes[tensor.data_type] += int(np.prod(tensor.dims))
    assert sizes[onnx.TensorProto.BFLOAT16] > sizes[onnx.TensorProto.FLOAT]


def test_what_may_not_be_rounded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="precision float16 is for a DygroPolicy, got a TinyPolicy"):
        export_bundle(TinyPolicy(), facts(), golden_inputs(), tmp_path / "bundle", precision="float16")
    assert list(tmp_path.iterdir()) == []
