"""Whether TensorRT can run an exported graph, read off the graph alone, with no GPU and no TensorRT.

The table is that of the ONNX parser of TensorRT 10.1 (docs/operators.md of onnx/onnx-tensorrt): an operator
is missing, a type is not taken, or an input must be a constant. Later versions take no less.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

OPSETS = range(9, 21)
_KNOWN = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast CastLike
Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DeformConv DepthToSpace
DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements
GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample
GroupNormalization GRU HardSigmoid HardSwish Hardmax Identity If ImageScaler InstanceNormalization IsInf
IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop LRN LSTM LpNormalization LpPool
MatMul Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg NonMaxSuppression NonZero Not
OneHot Or Pad ParametricSoftplus Pow PRelu QuantizeLinear RandomNormal RandomNormalLike RandomUniform
RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RNN RoiAlign Round
ScaledTanh Scan Scatter ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice
Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK
Transpose Trilu Unsqueeze Upsample Where Xor
"""
OPERATORS = frozenset(_KNOWN.split())
# The only operators that take bytes, which is what pictures and text come as.
TAKE_UINT8 = ("Cast", "CastLike")
# Position of the input that must be a constant.
CONSTANT_INPUT = {
    "CumSum": 1,
    "OneHot": 1,
    "Pad": 3,
    **dict.fromkeys(("Squeeze", "Unsqueeze"), 1),
    "Slice": 3,
    **{f"Reduce{name}": 1 for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod")},
    **{f"Reduce{name}": 1 for name in ("Sum", "SumSquare")},
}
TOP_K_BELOW = 3840


def why_not_tensorrt(model: onnx.ModelProto) -> list[str]:
    """Return what keeps TensorRT from running a model, a sentence each; nothing where it can."""
    return list(_reasons(model))


def _reasons(model: onnx.ModelProto) -> Iterator[str]:
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version not in OPSETS:
            yield f"opset {opset.version} is not one of {OPSETS.start} to {OPSETS.stop - 1}"
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = node.attribute[0].t
    bytes_of = {
        value.name
        for value in model.graph.input
        if value.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    }
    for node in model.graph.node:
        where = f"{node.op_type} ({node.name or node.output[0]})"
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            yield f"{where} is not an operator that it knows"
            continue
        if node.op_type not in TAKE_UINT8 and bytes_of.intersection(node.input):
            yield f"{where} takes bytes: cast them first"
        place = CONSTANT_INPUT.get(node.op_type)
        given = place is not None and len(node.input) > place and node.input[place]
        if given and given not in constants:
            yield f"{where}: input {place} must be a constant"
        if node.op_type == "TopK":
            largest = constants.get(node.input[1])
            count = int(onnx.numpy_helper.to_array(largest).item()) if largest is not None else TOP_K_BELOW
            ordered = all(attribute.i for attribute in node.attribute if attribute.name == "sorted")
            if count >= TOP_K_BELOW or not ordered:
                yield f"{where}: K must be a constant below {TOP_K_BELOW}, and the result sorted"
        if node.op_type == "LayerNormalization" and any(node.output[1:]):
            yield f"{where}: only its first output can be used"
