"""The TensorRT backend, on stand-ins for TensorRT and CUDA whose engine is ONNX Runtime on ordinary memory.

They hold the calls against what the libraries document; whether a GPU answers the same, only one can tell.
"""

import ctypes
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from policy_fixtures import make_bundle

from dygro_ros import inference, tensorrt_engine
from dygro_ros.bundle import Bundle, verify_golden
from dygro_ros.errors import BundleError, DependencyError
from dygro_ros.inference import OnnxPolicy
from dygro_ros.tensorrt_engine import EngineSession, engine_folder

NAMES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}


class Mode(Enum):
    INPUT = 0
    OUTPUT = 1


class Context:
    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session, self._places = session, {}  # type: ignore[var-annotated]

    def set_tensor_address(self, name: str, place: int) -> None:
        self._places[name] = place

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 7
        feed = {
            node.name: np.ctypeslib.as_array(
                ctypes.cast(self._places[node.name], ctypes.POINTER(ctypes.c_uint8)),
                (int(np.prod(node.shape)) * np.dtype(NAMES[node.type]).itemsize,),
            ).view(NAMES[node.type]).reshape(node.shape)
            for node in self._session.get_inputs()
        }  # fmt: skip
        for node, answer in zip(self._session.get_outputs(), self._session.run(None, feed), strict=True):
            ctypes.memmove(self._places[node.name], answer.ctypes.data, answer.nbytes)
        return True


class Engine:
    def __init__(self, plan: bytes) -> None:
        self._session = onnxruntime.InferenceSession(plan.removeprefix(b"plan"))
        self._nodes = [*self._session.get_inputs(), *self._session.get_outputs()]
        self._inputs = len(self._session.get_inputs())
        self.num_io_tensors = len(self._nodes)

    def _index(self, name: str) -> int:
        return [node.name for node in self._nodes].index(name)

    def get_tensor_name(self, index: int) -> str:
        return str(self._nodes[index].name)

    def get_tensor_dtype(self, name: str) -> str:
        return str(self._nodes[self._index(name)].type)

    def get_tensor_shape(self, name: str) -> list[int]:
        return list(self._nodes[self._index(name)].shape)

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode.INPUT if self._index(name) < self._inputs else Mode.OUTPUT

    def create_execution_context(self) -> Context:
        return Context(self._session)


class TensorRt:
    """What we use of the module."""

    __version__ = "10.9.0.34"
    TensorIOMode = Mode
    BuilderFlag = SimpleNamespace(TF32="TF32")
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)

    def __init__(self) -> None:
        self.built = 0
        self.refuses = ""
        self.cleared: list[str] = []

        class Logger:
            ERROR = 1

            def __init__(self, level: int) -> None:
                pass

        self.Logger = Logger

    def nptype(self, kind: str) -> type:
        return NAMES[kind]

    def Builder(self, logger: Any) -> Any:
        def build(network: Any, config: Any) -> bytes:
            self.built += 1
            return b"plan" + bytes(network.graph)

        return SimpleNamespace(
            create_network=lambda flags: SimpleNamespace(graph=b"", flags=flags),
            create_builder_config=lambda: SimpleNamespace(clear_flag=self.cleared.append),
            build_serialized_network=build,
        )

    def OnnxParser(self, network: Any, logger: Any) -> Any:
        def parse(graph: bytes, path: str) -> bool:
            assert network.flags == 1 << 1
            assert Path(path).read_bytes() == graph
            network.graph = graph
            return not self.refuses

        return SimpleNamespace(parse=parse, num_errors=1, get_error=lambda index: self.refuses)

    def Runtime(self, logger: Any) -> Any:
        def load(plan: bytes) -> Engine | None:
            return Engine(plan) if plan.startswith(b"plan") else None

        return SimpleNamespace(deserialize_cuda_engine=load)


class Cuda:
    """What we use of the CUDA runtime, on ordinary memory."""

    cudaError_t = SimpleNamespace(cudaSuccess=0)
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)

    def __init__(self, gpu: bool = True) -> None:
        self._gpu, self._held = gpu, []  # type: ignore[var-annotated]

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        return (0, SimpleNamespace(name=b"NVIDIA A10G\0\0", major=8, minor=6)) if self._gpu else (100, None)

    def cudaStreamCreate(self) -> tuple[int, int]:
        return 0, 7

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:
        return (0,)

    def cudaMalloc(self, size: int) -> tuple[int, int]:
        self._held.append(ctypes.create_string_buffer(size))
        return 0, ctypes.addressof(self._held[-1])

    def cudaMemcpy(self, to: int, source: int, size: int, kind: int) -> tuple[int]:
        ctypes.memmove(to, source, size)
        return (0,)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("engine") / "bundle")


def test_a_policy_runs_on_an_engine_and_says_so(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt = TensorRt()
    monkeypatch.setattr(tensorrt_engine, "libraries", lambda: (trt, Cuda()))
    monkeypatch.setattr(inference, "engine_folder", lambda: tmp_path / "engines")
    policy = OnnxPolicy(bundle, provider="tensorrt_engine")
    assert policy.running_provider == "TensorRT 10.9.0.34 engine on NVIDIA A10G"
    assert verify_golden(bundle, policy).max() < 1e-4
    # Single precision is not traded for speed.
    assert trt.cleared == ["TF32"]


def test_an_engine_is_built_once_for_graph_gpu_and_version(bundle: Bundle, tmp_path: Path) -> None:
    trt = TensorRt()
    EngineSession(bundle.graph_path, tmp_path, (trt, Cuda()))
    EngineSession(bundle.graph_path, tmp_path, (trt, Cuda()))
    assert trt.built == 1
    [kept] = tmp_path.iterdir()
    assert kept.name.endswith("-NVIDIA-A10G-cc8.6-trt10.9.0.34.engine")
    trt.__version__ = "11.4.0"  # type: ignore[misc]
    EngineSession(bundle.graph_path, tmp_path, (trt, Cuda()))
    other = tmp_path / "other.onnx"
    other.write_bytes(bundle.graph_path.read_bytes() + b"\x3a\x00")
    EngineSession(other, tmp_path, (trt, Cuda()))
    assert trt.built == 3
    # Weights beside a graph belong to it.
    (tmp_path / "other.onnx.data").write_bytes(b"weights")
    EngineSession(other, tmp_path, (trt, Cuda()))
    EngineSession(other, tmp_path, (trt, Cuda()))
    assert trt.built == 4


def test_a_damaged_engine_is_built_anew(bundle: Bundle, tmp_path: Path) -> None:
    trt = TensorRt()
    EngineSession(bundle.graph_path, tmp_path, (trt, Cuda()))
    [kept] = tmp_path.iterdir()
    kept.write_bytes(b"torn")
    EngineSession(bundle.graph_path, tmp_path, (trt, Cuda()))
    assert trt.built == 2 and kept.read_bytes().startswith(b"plan")


def test_what_cannot_be_built_is_said(bundle: Bundle, tmp_path: Path) -> None:
    trt = TensorRt()
    trt.refuses = "no Einsum here"
    with pytest.raises(BundleError, match="TensorRT cannot read the graph: no Einsum here"):
        EngineSession(bundle.graph_path, tmp_path, (trt, Cuda()))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DependencyError, match=r"CUDA cannot find a GPU: 100; does nvidia-smi show a GPU\?"):
        EngineSession(bundle.graph_path, tmp_path, (TensorRt(), Cuda(gpu=False)))


def test_without_the_libraries_the_provider_is_refused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(tensorrt_engine.importlib, "import_module", missing)
    with pytest.raises(DependencyError, match=r"needs TensorRT and CUDA .* pip install tensorrt cuda-python"):
        OnnxPolicy(bundle, provider="tensorrt_engine")


def test_engines_are_kept_in_the_users_cache() -> None:
    assert engine_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/dygro_ros/engines")
    assert engine_folder({}) == Path.home() / ".cache" / "dygro_ros" / "engines"
