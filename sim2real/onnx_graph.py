"""A torch module as an ONNX graph of fixed shapes; large weights go into a file beside it.

protobuf holds no message above 2 GB, so a graph whose weights are large keeps them in `<name>.data`, which
ONNX Runtime and TensorRT find beside it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir
import onnx_ir.passes.common as onnx_passes
import torch
from torch import Tensor, nn

from dygro_ros.errors import BundleError
from dygro_ros.tensorrt_engine import EXTERNAL_DATA_SUFFIX
from sim2real.tensorrt_check import why_not_tensorrt

# What torch's exporter writes natively, and old enough for the ONNX Runtime of ROS 2 Humble's Python 3.10.
OPSET = 18
# Half of protobuf's limit [bytes].
EXTERNAL_ABOVE = 1 << 30
_LOG = logging.getLogger(__name__)


def to_onnx(module: nn.Module, arguments: tuple[Tensor, Tensor, Tensor], outputs: tuple[str, ...]) -> bytes:
    """Return a module of (images, instruction, proprio) as a checked ONNX model of the arguments' shapes."""
    model = onnx_ir.to_proto(_clean_model(module, arguments, outputs))
    onnx.checker.check_model(model, full_check=True)
    _warn_of_tensorrt(model)
    data: bytes = model.SerializeToString()
    return data


def write_onnx(
    module: nn.Module,
    arguments: tuple[Tensor, Tensor, Tensor],
    outputs: tuple[str, ...],
    path: Path,
    *,
    external_above: int = EXTERNAL_ABOVE,
) -> list[Path]:
    """Write a module as a checked ONNX model and return the files: the graph, then its data if it has any.

    Args:
        module: Of (images, instruction, proprio).
        arguments: Of the shapes that the graph will have.
        outputs: Their names.
        path: The graph's file.
        external_above: Bytes of parameters above which they go into `<path>.data`.
    """
    if parameter_bytes(module) <= external_above:
        path.write_bytes(to_onnx(module, arguments, outputs))
        return [path]
    data = path.with_name(path.name + EXTERNAL_DATA_SUFFIX)
    onnx_ir.save(_clean_model(module, arguments, outputs), path, external_data=data.name)
    onnx.checker.check_model(str(path), full_check=True)
    _warn_of_tensorrt(onnx.load(path, load_external_data=False))
    return [path, data]


def parameter_bytes(module: nn.Module) -> int:
    """Return the size of a module's parameters [bytes]."""
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())


def _clean_model(
    module: nn.Module, arguments: tuple[Tensor, Tensor, Tensor], outputs: tuple[str, ...]
) -> onnx_ir.Model:
    with warnings.catch_warnings(), _quiet(_CHATTY_LOGGERS):
        # torch.export copies its own deprecated LeafSpec; no caller can avoid that.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        program = torch.onnx.export(
            module,
            arguments,
            input_names=["images", "instruction", "proprio"],
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise BundleError("torch.onnx.export returned no program")
    clean_up = onnx_ir.passes.Sequential(
        onnx_passes.ClearMetadataAndDocStringPass(),
        onnx_passes.LiftConstantsToInitializersPass(),
        onnx_passes.DeduplicateInitializersPass(),
        onnx_passes.CommonSubexpressionEliminationPass(),
        onnx_passes.RemoveUnusedNodesPass(),
        onnx_passes.RemoveUnusedOpsetsPass(),
    )
    with _quiet(_CHATTY_LOGGERS):
        return clean_up(program.model).model


def _warn_of_tensorrt(model: onnx.ModelProto) -> None:
    for reason in why_not_tensorrt(model):
        _LOG.warning("TensorRT cannot run the graph: %s", reason)


# They report the absence of torchvision, which nothing here needs, operators that were not folded, and that a
# constant output (a base policy's gates) was not shared.
_CHATTY_LOGGERS = (
    "torch.onnx._internal.exporter._registration",
    "onnxscript.optimizer._constant_folding",
    "onnx_ir.passes.common.initializer_deduplication",
)


@contextmanager
def _quiet(names: tuple[str, ...]) -> Iterator[None]:
    """Let only errors of these loggers through."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
