"""Whether TensorRT can run what is exported, by its operator list."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from policy_fixtures import make_bundle

from sim2real.tensorrt_check import why_not_tensorrt

FLOAT, INT64, UINT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8


def model(*nodes: onnx.NodeProto, opset: int = 18, kind: int = FLOAT) -> onnx.ModelProto:
    inputs = [
        helper.make_tensor_value_info("x", kind, [4, 4]),
        helper.make_tensor_value_info("i", INT64, [1]),
    ]
    constant = [helper.make_tensor("one", INT64, [1], [1]), helper.make_tensor("many", INT64, [1], [4000])]
    output = [helper.make_tensor_value_info("y", FLOAT, None)]
    graph = helper.make_graph(nodes, "g", inputs, output, constant)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def test_an_exported_policy_can_run(tmp_path: Path) -> None:
    graph = onnx.load(make_bundle(tmp_path / "bundle").path / "policy.onnx")
    assert why_not_tensorrt(graph) == []


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (model(helper.make_node("Det", ["x"], ["y"])), "Det (y) is not an operator that it knows"),
        (model(helper.make_node("Relu", ["x"], ["y"], domain="mine")), "not an operator that it knows"),
        (model(helper.make_node("Relu", ["x"], ["y"]), opset=21), "opset 21 is not one of 9 to 20"),
        (model(helper.make_node("Transpose", ["x"], ["y"]), kind=UINT8), "takes bytes: cast them first"),
        (model(helper.make_node("ReduceSum", ["x", "i"], ["y"])), "input 1 must be a constant"),
        (model(helper.make_node("TopK", ["x", "many"], ["y", "k"])), "K must be a constant below 3840"),
        (model(helper.make_node("TopK", ["x", "one"], ["y", "k"], sorted=0)), "the result sorted"),
        (model(helper.make_node("LayerNormalization", ["x", "x"], ["y", "m"])), "only its first output"),
    ],
)
def test_what_keeps_a_graph_from_running_is_named(graph: onnx.ModelProto, reason: str) -> None:
    [found] = why_not_tensorrt(graph)
    assert reason in found


def test_what_is_allowed_is_not_named() -> None:
    cast = helper.make_node("Cast", ["x"], ["z"], to=FLOAT)
    one = helper.make_node("ReduceSum", ["z", "one"], ["s"])
    top = helper.make_node("TopK", ["s", "one"], ["y", "k"])
    assert why_not_tensorrt(model(cast, one, top, kind=UINT8)) == []
