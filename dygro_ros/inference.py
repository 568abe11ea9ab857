"""ONNX Runtime or a TensorRT engine behind a bundle: pictures, text, measured joints in, chunk out.

Everything that a policy does to its inputs is inside the graph; here they are only checked. The execution
provider is seen, never assumed: a session that fell back to another provider is refused.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnxruntime
import onnxruntime.capi.onnxruntime_pybind11_state as onnxruntime_state
from numpy.typing import NDArray

from dygro_ros.bundle import Bundle
from dygro_ros.errors import BundleError, DependencyError, UserError
from dygro_ros.instruction_codec import Encoded, codec_of
from dygro_ros.manifest import TensorSpec, differences
from dygro_ros.tensorrt_engine import EngineSession, engine_folder, find_gpu, libraries

Provider = Literal["cpu", "cuda", "tensorrt", "tensorrt_engine"]
# ONNX Runtime's; `tensorrt_engine` runs without it.
PROVIDERS: dict[Provider, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
ENGINE: Provider = "tensorrt_engine"
# y = x + x, the smallest graph that a provider can be seen to run.
_PROBE = bytes.fromhex(
    "080812003a390a0e0a01780a01781201792203416464120570726f62655a0f0a0178120a0a0808011204"
    "0a020801620f0a0179120a0a08080112040a02080142040a00100d"
)
_DTYPES = {"tensor(uint8)": "uint8", "tensor(int32)": "int32", "tensor(float)": "float32"}
# ONNX Runtime's exceptions share no base class of their own.
_LOAD_ERRORS = (
    onnxruntime_state.Fail,
    onnxruntime_state.InvalidArgument,
    onnxruntime_state.InvalidGraph,
    onnxruntime_state.InvalidProtobuf,
    onnxruntime_state.NoSuchFile,
    onnxruntime_state.NotImplemented,
    onnxruntime_state.RuntimeException,
)
_LOG = logging.getLogger(__name__)


class PolicyInputError(UserError):
    """A frame does not have the shape, type or values that the bundle's graph takes."""


class PolicyOutputError(UserError):
    """The graph answered with something that no arm may be sent."""


@dataclass(frozen=True)
class PolicyOutput:
    """The answer to one frame; arrays are read-only."""

    chunk: NDArray[np.float32]
    """Executed chunk (base and residual), (h, 14) joint units."""
    base_chunk: NDArray[np.float32]
    """Chunk of the base policy alone, (h, 14) joint units."""
    gates: NDArray[np.float32]
    """Mixture weights of the experts, (E,)."""
    task_embedding: NDArray[np.float32]
    """(T,)."""
    latency_s: float
    """Time inside ONNX Runtime [s]."""


class OnnxPolicy:
    """One policy in one ONNX Runtime session, ready and warmed up."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        provider: Provider = "cpu",
        threads: int = 1,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Open the session, hold its interface against the manifest, and run it twice.

        Args:
            bundle: A verified bundle.
            provider: Execution provider that must run the graph.
            threads: ONNX Runtime's threads inside one operator.
            clock: Monotonic clock [s] behind `latency_s`.

        Raises:
            DependencyError: The provider is not installed, or the session fell back to another one.
            BundleError: The graph cannot be loaded, or its interface is not the manifest's.
        """
        if provider not in (*PROVIDERS, ENGINE):
            raise UserError(
                f"unknown provider {provider!r}: expected one of {', '.join((*PROVIDERS, ENGINE))}"
            )
        if threads < 1:
            raise UserError(f"threads must be at least 1, got {threads}")
        self.bundle = bundle
        self.provider = provider
        self._clock = clock
        self.codec = codec_of(bundle.manifest.instruction, bundle.path)
        """How the policy reads instructions."""
        self._session: Any = (
            EngineSession(bundle.graph_path, engine_folder())
            if provider == ENGINE
            else open_session(str(bundle.graph_path), provider, threads)
        )
        _require_interface(bundle, self._session)
        self._inputs = bundle.manifest.graph.inputs
        self._outputs = [spec.name for spec in bundle.manifest.graph.outputs]
        golden = bundle.golden
        self.warm_up_s = tuple(
            self.infer_arrays(golden.images[0], golden.instruction[0], golden.proprio[0]).latency_s
            for _ in range(2)
        )
        _LOG.info(
            "%s runs on %s, %d thread(s); first inference %.1f ms, then %.1f ms",
            bundle.path, self.running_provider, threads, self.warm_up_s[0] * 1e3, self.warm_up_s[1] * 1e3,
        )  # fmt: skip

    @property
    def running_provider(self) -> str:
        """What runs the graph: ONNX Runtime's provider with the first call on an operator, or the engine."""
        return str(self._session.get_providers()[0])

    def infer(
        self, images: NDArray[np.uint8], instruction: str, proprio: NDArray[np.float32]
    ) -> PolicyOutput:
        """Answer one frame.

        Args:
            images: (V, H, W, 3) uint8 RGB, cameras in the manifest's order.
            instruction: What to do, 1 to 96 UTF-8 bytes or, of a policy that reads tokens, 1 to L of them.
            proprio: Measured joints in joint units, (14,) float32.

        Raises:
            PolicyInputError: An input has another shape or type, is empty, or is not finite.
            PolicyOutputError: The graph's answer is not finite.
        """
        return self.infer_arrays(images, self.encode(instruction), proprio)

    def encode(self, instruction: str) -> Encoded:
        """Return an instruction as the graph reads it, (L,).

        Raises:
            PolicyInputError: It is empty or too long.
        """
        try:
            return self.codec.encode(instruction)
        except ValueError as error:
            raise PolicyInputError(str(error)) from error

    def infer_arrays(
        self, images: NDArray[np.uint8], instruction: Encoded, proprio: NDArray[np.float32]
    ) -> PolicyOutput:
        """Answer one frame whose instruction is already encoded, (L,); otherwise as `infer`."""
        arrays: tuple[NDArray[Any], ...] = (images, instruction, proprio)
        feed = {spec.name: _checked(spec, array) for spec, array in zip(self._inputs, arrays, strict=True)}
        start_s = self._clock()
        outputs = self._session.run(self._outputs, feed)
        latency_s = self._clock() - start_s
        answers: dict[str, NDArray[np.float32]] = {}
        for name, output in zip(self._outputs, outputs, strict=True):
            if not np.isfinite(output).all():
                raise PolicyOutputError(f"{self.bundle.path}: output {name} holds a value that is not finite")
            answers[name] = output[0]
            answers[name].setflags(write=False)
        return PolicyOutput(latency_s=latency_s, **answers)


def probe(provider: Provider) -> None:
    """Run a graph of one addition, or see whether there is what builds engines.

    Raises:
        DependencyError: The provider is not installed, or does not run it.
        BundleError: It fails.
    """
    if provider == ENGINE:
        find_gpu(libraries()[1])
        return
    session = open_session(_PROBE, provider, 1)
    session.run(None, {"x": np.ones(1, np.float32)})


def open_session(graph: str | bytes, provider: Provider, threads: int) -> onnxruntime.InferenceSession:
    """Return a session that runs on the provider that was asked for, and on no other.

    Args:
        graph: The graph's file, or the graph itself.
        provider: Execution provider of ONNX Runtime.
        threads: ONNX Runtime's threads inside one operator.

    Raises:
        DependencyError: The provider is not installed, or the session fell back to another one.
        BundleError: The graph cannot be loaded.
    """
    wanted = PROVIDERS[provider]
    available = onnxruntime.get_available_providers()
    if wanted not in available:
        raise DependencyError(
            f"provider {provider!r} needs {wanted}, but this ONNX Runtime {onnxruntime.__version__} offers "
            f"{', '.join(available)}: pip uninstall onnxruntime, then pip install onnxruntime-gpu"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            graph, options, providers=[(wanted, _provider_options(provider))]
        )
    except _LOAD_ERRORS as error:
        place = graph if isinstance(graph, str) else "a graph of one addition"
        raise BundleError(f"{place}: ONNX Runtime cannot load the graph: {error}") from error
    running = session.get_providers()[0]
    if running != wanted:
        raise DependencyError(
            f"provider {provider!r} was asked for, but the session runs on {running}: its libraries did not "
            "load (see ONNX Runtime's log; the CUDA and cuDNN versions must fit onnxruntime-gpu)"
        )
    return session


def _provider_options(provider: Provider) -> dict[str, str]:
    if provider == "cuda":
        # Ten bits of mantissa would be seen in the golden frames; and the fastest convolution, found by the
        # clock, would be another one in each process, so that an episode could not be repeated.
        return {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    if provider != "tensorrt":
        return {}
    folder = engine_folder() / "onnxruntime"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Without a cache, each start builds the engine anew, which takes a minute or more.
    return {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)}


def _require_interface(bundle: Bundle, session: Any) -> None:
    """Refuse a graph whose names, types or shapes are not those of the manifest."""
    graph = bundle.manifest.graph.model_dump(mode="json")
    for side, found in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        seen = [
            {"name": node.name, "dtype": _DTYPES.get(node.type, node.type), "shape": list(node.shape)}
            for node in found
        ]
        for field, ours, theirs in differences(graph[side], seen, f"graph.{side}"):
            raise BundleError(
                f"{bundle.path}: {field} is {ours!r} in the manifest, but the graph has {theirs!r}"
            )


def _checked(spec: TensorSpec, array: NDArray[Any]) -> NDArray[Any]:
    """Return one input with its batch axis, or refuse it."""
    shape = spec.shape[1:]
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != np.dtype(spec.dtype):
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise PolicyInputError(f"{spec.name} must be {spec.dtype} of shape {shape}, got {got}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        index = int(np.flatnonzero(~np.isfinite(array))[0])
        raise PolicyInputError(f"{spec.name} must be finite, got {array.flat[index]} at index {index}")
    return np.ascontiguousarray(array)[np.newaxis]
