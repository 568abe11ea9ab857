"""A native TensorRT engine, built on the robot and kept, in the place of an ONNX Runtime session.

An engine runs on the kind of GPU and the version of TensorRT that built it, so both are in the name of the
file it is kept in, beside the hash of the graph. Building takes a minute or more, once. The libraries
`tensorrt` and `cuda-python` are imported when an engine is asked for, not before.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import BundleError, DependencyError

_ORT_TYPES = {"uint8": "tensor(uint8)", "int32": "tensor(int32)", "float32": "tensor(float)"}
EXTERNAL_DATA_SUFFIX = ".data"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gpu:
    """The GPU that engines are built for."""

    name: str
    compute_capability: str
    """Such as 8.9."""


@dataclass(frozen=True)
class Tensor:
    """One input or output, as ONNX Runtime describes it."""

    name: str
    type: str
    shape: tuple[int, ...]


def engine_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where engines are kept."""
    cache = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "dygro_ros" / "engines"


def libraries() -> tuple[Any, Any]:
    """Return TensorRT and the CUDA runtime.

    Raises:
        DependencyError: One of them is not installed; says what to install.
    """
    try:
        return importlib.import_module("tensorrt"), importlib.import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise DependencyError(
            f"provider 'tensorrt_engine' needs TensorRT and CUDA ({error}): pip install tensorrt cuda-python"
        ) from error


def find_gpu(cudart: Any) -> Gpu:
    """Return the first GPU.

    Raises:
        DependencyError: There is none.
    """
    found = _checked(cudart, "find a GPU", cudart.cudaGetDeviceProperties(0))
    name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
    return Gpu(name.strip("\0"), f"{found.major}.{found.minor}")


class EngineSession:
    """One engine with its memory on the GPU; runs as an ONNX Runtime session does."""

    def __init__(self, graph_path: Path, folder: Path, modules: tuple[Any, Any] | None = None) -> None:
        """Read the engine from where it is kept, or build it.

        Args:
            graph_path: The ONNX graph.
            folder: Where engines are kept; made if it is not there.
            modules: TensorRT and the CUDA runtime; those that are installed by default.

        Raises:
            DependencyError: They are not installed, or there is no GPU.
            BundleError: TensorRT cannot build the graph; says why.
        """
        self._trt, self._cudart = libraries() if modules is None else modules
        gpu = find_gpu(self._cudart)
        graph = graph_path.read_bytes()
        self._logger = self._trt.Logger(self._trt.Logger.ERROR)
        kept = folder / _file_name(_digest(graph, graph_path), gpu, self._trt.__version__)
        self._engine: Any = self._deserialize(kept.read_bytes()) if kept.is_file() else None
        if self._engine is None:
            _LOG.warning("building a TensorRT engine for %s: this takes a minute or more, once", gpu.name)
            plan = self._build(graph, graph_path)
            _keep(kept, plan)
            self._engine = self._deserialize(plan)
        if self._engine is None:
            raise BundleError(f"{graph_path}: TensorRT cannot load the engine that it has just built")
        self._name = f"TensorRT {self._trt.__version__} engine on {gpu.name}"
        self._context = self._engine.create_execution_context()
        self._stream = self._call("make a stream", self._cudart.cudaStreamCreate())
        self._tensors: dict[str, tuple[Tensor, bool]] = {}
        self._memory: dict[str, int] = {}
        for index in range(self._engine.num_io_tensors):
            self._allocate(self._engine.get_tensor_name(index))

    def get_providers(self) -> list[str]:
        """Return what runs the graph."""
        return [self._name]

    def get_inputs(self) -> list[Tensor]:
        """Return the graph's inputs, in its order."""
        return [tensor for tensor, is_input in self._tensors.values() if is_input]

    def get_outputs(self) -> list[Tensor]:
        """Return the graph's outputs, in its order."""
        return [tensor for tensor, is_input in self._tensors.values() if not is_input]

    def run(self, outputs: Sequence[str], feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Return the named outputs for the inputs, which must have the engine's shapes and types."""
        copy, kinds = self._cudart.cudaMemcpy, self._cudart.cudaMemcpyKind
        for name, array in feed.items():
            data = np.ascontiguousarray(array)
            kind = kinds.cudaMemcpyHostToDevice
            self._call("copy an input", copy(self._memory[name], data.ctypes.data, data.nbytes, kind))
        if not self._context.execute_async_v3(self._stream):
            raise BundleError("TensorRT has not run the engine: see its log")
        self._call("run the engine", self._cudart.cudaStreamSynchronize(self._stream))
        answers = []
        for name in outputs:
            tensor = self._tensors[name][0]
            answer = np.empty(tensor.shape, _dtype(tensor))
            kind = kinds.cudaMemcpyDeviceToHost
            self._call("copy an output", copy(answer.ctypes.data, self._memory[name], answer.nbytes, kind))
            answers.append(answer)
        return answers

    def _build(self, graph: bytes, path: Path) -> bytes:
        trt = self._trt
        builder = trt.Builder(self._logger)
        # Types are the graph's own: what was exported in half precision runs in it, and nothing else does.
        strongly_typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = builder.create_network(strongly_typed)
        parser = trt.OnnxParser(network, self._logger)
        # By its path the parser finds the weights that lie beside the graph.
        if not parser.parse(graph, str(path)):
            reasons = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
            raise BundleError(f"{path}: TensorRT cannot read the graph: {reasons}")
        config = builder.create_builder_config()
        # Its ten bits of mantissa would be seen in the golden frames.
        config.clear_flag(trt.BuilderFlag.TF32)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise BundleError(f"{path}: TensorRT cannot build an engine: see its log")
        return bytes(plan)

    def _deserialize(self, plan: bytes) -> Any:
        return self._trt.Runtime(self._logger).deserialize_cuda_engine(plan)

    def _allocate(self, name: str) -> None:
        dtype = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
        shape = tuple(int(size) for size in self._engine.get_tensor_shape(name))
        is_input = self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT
        tensor = Tensor(name, _ORT_TYPES.get(dtype.name, dtype.name), shape)
        size = int(np.prod(shape)) * dtype.itemsize
        self._memory[name] = self._call("get memory on the GPU", self._cudart.cudaMalloc(size))
        self._context.set_tensor_address(name, self._memory[name])
        self._tensors[name] = (tensor, is_input)

    def _call(self, what: str, answer: tuple[Any, ...]) -> Any:
        return _checked(self._cudart, what, answer)


def _checked(cudart: Any, what: str, answer: tuple[Any, ...]) -> Any:
    """Return the value of a CUDA call, which answers with an error code and its values."""
    code, *values = answer
    if code != cudart.cudaError_t.cudaSuccess:
        raise DependencyError(f"CUDA cannot {what}: {code}; does nvidia-smi show a GPU?")
    return values[0] if values else None


def _dtype(tensor: Tensor) -> np.dtype[Any]:
    return np.dtype({found: name for name, found in _ORT_TYPES.items()}.get(tensor.type, tensor.type))


def _digest(graph: bytes, path: Path) -> str:
    """Return the hash of a graph and of the weights beside it, if it has any there."""
    digest = hashlib.sha256(graph)
    data = path.with_name(path.name + EXTERNAL_DATA_SUFFIX)
    if data.is_file():
        with data.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _file_name(digest: str, gpu: Gpu, version: str) -> str:
    slug = re.sub(r"[^A-Za-z0-9]+", "-", gpu.name).strip("-")
    graph_hash = digest[:16]
    return f"{graph_hash}-{slug}-cc{gpu.compute_capability}-trt{version}.engine"


def _keep(path: Path, plan: bytes) -> None:
    """Write an engine beside its place, then move it there: only the user may, since engines are programs."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".new", delete=False) as file:
        file.write(plan)
    os.replace(file.name, path)
