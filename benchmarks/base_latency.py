"""Latency of a chunk and speed of cloning of the preset `base`, with random weights of the published sizes.

    python benchmarks/base_latency.py --device cuda                 # on a GPU: eager, compile, CUDA graph
    python benchmarks/base_latency.py --sizes tiny --device cpu     # anywhere: that it runs; quote no figure

The floor is what the device needs at least: every parameter read once from its memory, or all operations at
its peak rate, for the published figures of known GPUs. Random weights cost what trained ones do. Memory is
each row's own peak on the GPU. Without a GPU the rows that need one stay empty.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dygro_ros.errors import BundleError, DependencyError, UserError, run_main
from dygro_ros.inference import Provider, open_session
from dygro_ros.tensorrt_engine import EngineSession
from models.action_space import ActionSpace
from models.base_policy import BasePolicy, VisionLanguageConfig
from models.dygro_policy import DygroPolicy
from models.half_precision import in_half_precision
from models.parameters import READ, parameters_of
from sim2real.onnx_graph import write_onnx

Inputs = tuple[Tensor, Tensor, Tensor]
OUTPUTS = ("chunk", "base_chunk", "gates", "task_embedding")
# Memory bandwidth [bytes/s] and dense bfloat16 operations [1/s], from the makers' data sheets (SXM).
PEAKS = {"H200": (4.8e12, 989e12), "H100": (3.35e12, 989e12), "A100": (2.0e12, 312e12)}
TINY_TOWER = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "patch_size": 14}
WARM = 5
ENGINE_ROW = "TensorRT engine"


@dataclass(frozen=True)
class Row:
    """One line of the table; times in seconds, None where something could not be measured."""

    name: str
    times_s: list[float] | None
    memory_bytes: int | None = None
    """The row's own peak on the GPU."""
    reason: str = ""


def network(sizes: str, cameras: int) -> VisionLanguageConfig:
    """Return the published sizes, or ones that any machine computes at once."""
    published = VisionLanguageConfig(cameras=cameras)
    if sizes == "published":
        return published
    return replace(
        published,
        dinov2={"model_type": "dinov2", **TINY_TOWER},
        siglip={"model_type": "siglip_vision_model", "intermediate_size": 64, **TINY_TOWER},
        qwen={**published.qwen, "vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 2,
              "num_attention_heads": 4, "intermediate_size": 128},
        image_size=28, padding_token=299,
    )  # fmt: skip


def observation(config: VisionLanguageConfig, device: str, batch: int = 1) -> Inputs:
    """Return random pictures, a random instruction of ten tokens, and joints."""
    shape = (batch, config.cameras, config.image_size, config.image_size, 3)
    text = torch.full((batch, config.instruction_tokens), config.padding_token, dtype=torch.int32)
    text[:, :10] = torch.randint(0, 256, (batch, 10), dtype=torch.int32)
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    return images.to(device), text.to(device), torch.randn(batch, config.actions).to(device)


def timed(call: Callable[[], object], repeats: int, device: str) -> list[float]:
    """Return the seconds of each call, results computed, after a few that do not count."""
    times = []
    for _ in range(WARM + repeats):
        begun_s = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun_s)
    return times[WARM:]


def reset_peak(device: str) -> None:
    """Start a row: what torch has reserved for earlier ones is given back, and no peak of theirs is kept."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_bytes(device: str) -> int | None:
    """Return the largest memory of torch on the GPU since the row's start, weights included."""
    return torch.cuda.max_memory_allocated() if device == "cuda" else None


def free_bytes(device: str) -> int:
    """Return the GPU's free memory, whoever has the rest; 0 without a GPU."""
    return torch.cuda.mem_get_info()[0] if device == "cuda" else 0


def captured(policy: nn.Module, inputs: Inputs) -> Callable[[], object]:
    """Return a replay of the policy's CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            policy(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        policy(*inputs)
    return graph.replay


@torch.inference_mode()
def torch_row(
    name: str, policy: nn.Module, inputs: Inputs, repeats: int, device: str, *, graph: bool = False
) -> Row:
    """Measure a module that may be compiled, called or replayed as a CUDA graph."""
    if graph and device != "cuda":
        return Row(name, None, reason="no GPU")
    for _ in range(WARM):
        policy(*inputs)  # what is compiled is compiled here, and not counted
    reset_peak(device)
    call = captured(policy, inputs) if graph else partial(policy, *inputs)
    return Row(name, timed(call, repeats, device), peak_bytes(device))


def torch_rows(policy: nn.Module, inputs: Inputs, repeats: int, device: str) -> list[Row]:
    """Measure torch: eager, compiled, and each as a CUDA graph."""
    compiled = torch.compile(policy)
    return [
        torch_row("eager", policy, inputs, repeats, device),
        torch_row("torch.compile", compiled, inputs, repeats, device),
        torch_row("CUDA graph", policy, inputs, repeats, device, graph=True),
        torch_row("compile + graph", compiled, inputs, repeats, device, graph=True),
    ]


def graph_rows(policy: nn.Module, inputs: Inputs, repeats: int, device: str) -> list[Row]:
    """Measure what runs the exported graph: ONNX Runtime and a native TensorRT engine, inputs on the CPU."""
    names = ("images", "instruction", "proprio")
    feed = dict(zip(names, (part.cpu().numpy() for part in inputs), strict=True))
    with tempfile.TemporaryDirectory() as folder:
        graph, *_ = write_onnx(policy, inputs, OUTPUTS, Path(folder) / "policy.onnx")
        provider: Provider = "cuda" if device == "cuda" else "cpu"

        def onnx_session() -> Any:
            return open_session(str(graph), provider, torch.get_num_threads())

        def engine() -> EngineSession:
            return EngineSession(graph, Path(folder) / "engines")

        rows = [graph_row("ONNX Runtime", onnx_session, feed, repeats, device)]
        if device != "cuda":
            return [*rows, Row(ENGINE_ROW, None, reason="no GPU")]
        return [*rows, graph_row(ENGINE_ROW, engine, feed, repeats, device)]


def graph_row(
    name: str, open_it: Callable[[], Any], feed: Mapping[str, NDArray[Any]], repeats: int, device: str
) -> Row:
    """Measure a session; its memory is what it takes from the GPU, weights included."""
    reset_peak(device)
    before = free_bytes(device)
    try:
        session = open_it()
    except DependencyError as error:
        return Row(name, None, reason=f"not installed: {error}")
    except BundleError as error:
        return Row(name, None, reason=str(error))
    times_s = timed(lambda: session.run(list(OUTPUTS), feed), repeats, "cpu")
    return Row(name, times_s, before - free_bytes(device) if device == "cuda" else None)


def training_row(config: VisionLanguageConfig, batch: int, repeats: int, device: str) -> Row:
    """Measure a step of cloning alone on one GPU: encode, sample z, loss, backward, AdamW; bfloat16 products.

    Not a whole step of Stage I: no information bound and critic, no object loss, no augmentation, clipping,
    averaging or gathering, and frames that lie on the GPU already.
    """
    policy = BasePolicy(config, ActionSpace.blank(config.actions, config.proprio)).to(device).train()
    policy.backbone.mixed_precision = True
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-4)
    inputs = observation(config, device, batch)
    target = torch.randn(batch, config.chunk, config.actions, device=device)
    mask = torch.ones(batch, config.chunk, device=device)

    def step() -> None:
        loss = policy.bc_loss(policy.sample(policy.encode(*inputs)), target, mask)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    step()  # makes the optimiser's moments
    reset_peak(device)
    return Row(f"cloning step, batch {batch}", timed(step, repeats, device), peak_bytes(device))


def floor_s(policy: BasePolicy, inputs: Inputs, device: str, bytes_each: int) -> tuple[float, float] | None:
    """Print operations and bytes of a chunk; return the seconds that each takes at least, where known."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        policy(*inputs)
    operations, read = counter.get_total_flops(), bytes_each * parameters_of(policy)[READ]
    print(f"one chunk: {operations / 1e9:.1f} GFLOP, {read / 1e9:.3f} GB of parameters read")
    name = torch.cuda.get_device_name() if device == "cuda" else ""
    known = next((peaks for gpu, peaks in PEAKS.items() if gpu in name), None)
    if known is None:
        print("floor: unknown for this device")
        return None
    floors = read / known[0], operations / known[1]
    print(f"floor on {name}: {1e3 * floors[0]:.2f} ms by bytes, {1e3 * floors[1]:.2f} ms by operations")
    return floors


def show(row: Row, floors: tuple[float, float] | None) -> None:
    """Print one line of the table."""
    if row.times_s is None:
        print(f"| {row.name:26s} | - | - | - | - | - | {row.reason} |")
        return
    p50, p99 = (float(np.percentile(row.times_s, q)) for q in (50, 99))
    memory = "-" if row.memory_bytes is None else f"{row.memory_bytes / 1e9:.2f}"
    ratios = [f"{p50 / floor:.1f}" for floor in floors] if floors else ["-", "-"]
    print(f"| {row.name:26s} | {1e3 * p50:.2f} | {1e3 * p99:.2f} | {ratios[0]} | {ratios[1]} | {memory} | |")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--sizes", choices=("published", "tiny"), default="published")
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--precision", choices=("bfloat16", "float16", "float32"), default=None,
                        help="of backbone and fusion; bfloat16 on a GPU, float32 on a CPU")  # fmt: skip
    parser.add_argument("--batch", type=int, default=16, help="frames of a cloning step")
    parser.add_argument("--repeats", type=int, default=None,
                        help="calls a row; by default 1000 on a GPU, 20 on a CPU")  # fmt: skip
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing while training")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "--device cuda needs a GPU and torch sees none: --device cpu --sizes tiny runs anywhere"
        )
    precision = options.precision or ("bfloat16" if options.device == "cuda" else "float32")
    # p99 of a thousand calls is the tenth slowest; of fewer it would be a single mishap.
    repeats = options.repeats or (1000 if options.device == "cuda" else 20)
    torch.manual_seed(0)
    config = network(options.sizes, options.cameras)
    device = options.device
    base = (
        BasePolicy(config, ActionSpace.blank(config.actions, config.proprio))
        .eval()
        .requires_grad_(False)
        .to(device)
    )
    where = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{where}; sizes {options.sizes}, {config.cameras} cameras of {config.image_size} px, {precision}")
    if precision != "float32":
        base = in_half_precision(base, getattr(torch, precision))
    inputs = observation(config, device)
    floors = floor_s(base, inputs, device, 4 if precision == "float32" else 2)
    print("| backend | p50 [ms] | p99 [ms] | x bytes | x FLOPs | memory [GB] | |")
    print("|---|---|---|---|---|---|---|")
    policy = DygroPolicy(base, None).eval()
    for measure in (torch_rows, graph_rows):
        for row in measure(policy, inputs, repeats, device):
            show(row, floors)
    del policy, base
    learning = replace(config, gradient_checkpointing=options.checkpointing)
    row = training_row(learning, options.batch, max(3, repeats // 20), device)
    show(row, None)
    print(f"{1 / statistics.median(row.times_s or [float('inf')]):.2f} cloning steps/s")
    return 0


if __name__ == "__main__":
    run_main(main)
