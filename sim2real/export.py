"""From a trained torch policy to a policy bundle: ONNX graph, manifest and golden frames.

The graph has fixed shapes (batch 1) and holds everything between uint8 camera pictures and a chunk in joint
units. It is held against the torch module on the golden frames before the bundle gets its name, so a
bundle that exists has passed. Knows nothing of training: whoever trained says where the policy comes from.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnx_ir.passes.common as onnx_passes
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dygro_ros.bundle import Bundle, read_bundle, verify_golden, write_bundle
from dygro_ros.errors import BundleError
from dygro_ros.golden import GoldenFrames
from dygro_ros.inference import OnnxPolicy
from dygro_ros.layout import (
    ACTION_SIZE,
    ARM_INDICES,
    CONTROL_RATE_HZ,
    GRIPPER_INDICES,
    INSTRUCTION_BYTES,
    JOINT_LOWER,
    JOINT_UPPER,
    encode_instruction,
)
from dygro_ros.manifest import (
    GOLDEN_TOLERANCE_RAD,
    ActionSpec,
    CameraSpec,
    Contract,
    GoldenSpec,
    InstructionSpec,
    NormalisationSpec,
    ProprioSpec,
    ResidualSpec,
    TrainingSpec,
    expected_graph,
    standard_gripper,
    standard_joints,
)
from models.dygro_policy import DygroPolicy
from models.residual import ResidualPolicy
from sim2real.bundle_episodes import Cell, cell_interface
from sim2real.cell.work_cell import CAMERA_NAMES
from sim2real.tensorrt_check import why_not_tensorrt

# What torch's exporter writes natively, and old enough for the ONNX Runtime of ROS 2 Humble's Python 3.10.
OPSET = 18
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class PolicyFacts:
    """What the exporter cannot read off the module itself."""

    cameras: tuple[CameraSpec, ...]
    """In the order of the images input."""
    rate_hz: float
    """Control steps per second [Hz]."""
    normalisation: NormalisationSpec
    residual: ResidualSpec
    training: TrainingSpec


@dataclass(frozen=True)
class GoldenInputs:
    """N fixed frames, as realistic as the caller can make them."""

    images: NDArray[np.uint8]
    """(N, V, H, W, 3)."""
    instructions: tuple[str, ...]
    """N texts."""
    proprio: NDArray[np.float32]
    """(N, 14)."""


def no_residual() -> ResidualSpec:
    """Return what a base policy's manifest says about its residual."""
    return ResidualSpec(arm_bound=0.0, gripper_bound=0.0, experts=1, active_experts=0)


def export_bundle(
    policy: nn.Module, facts: PolicyFacts, golden: GoldenInputs, out: Path, *, overwrite: bool = False
) -> Bundle:
    """Export a policy and write the bundle.

    Args:
        policy: Maps images (1, V, H, W, 3) uint8, instruction (1, 96) uint8 and proprio (1, 14) float32 to
            (chunk (1, h, 14), base chunk (1, h, 14), gates (1, E), task embedding (1, T)); joint units.
        facts: Cameras, rate, normalisation, residual and where the policy comes from.
        golden: Frames whose answers go into the bundle.
        out: Folder to make.
        overwrite: Replace an earlier bundle at `out`.

    Raises:
        BundleError: `out` exists, the graph's answers differ from torch's by more than 1e-4 rad, or what the
            facts say contradicts what the policy does; `out` is then untouched.
    """
    was_training = policy.training
    policy.eval()
    try:
        frames = answer_frames(policy, golden)
        graph = export_graph(policy, frames)
    finally:
        policy.train(was_training)
    contract = Contract(
        schema_version=1,
        cameras=facts.cameras,
        joints=standard_joints(),
        gripper=standard_gripper(),
        proprio=ProprioSpec(source="measured", size=ACTION_SIZE),
        action=ActionSpec(
            kind="absolute_joint_position", chunk_length=frames.chunk.shape[1], rate_hz=facts.rate_hz
        ),
        normalisation=facts.normalisation,
        residual=facts.residual,
        instruction=InstructionSpec(
            encoding="utf-8 bytes, zero padded", length=INSTRUCTION_BYTES, empty_allowed=False
        ),
        training=facts.training,
        graph=expected_graph(
            facts.cameras, frames.chunk.shape[1], facts.residual.experts, frames.task_embedding.shape[1]
        ),
        golden=GoldenSpec(frames=frames.frames, tolerance_rad=GOLDEN_TOLERANCE_RAD),
    )
    return write_bundle(out, contract, graph, frames, overwrite=overwrite, verify=verify_parity)


def verify_parity(bundle: Bundle) -> None:
    """Run the bundle's graph on its golden frames, gates and task embedding included.

    Raises:
        BundleError: An answer differs from the training code's.
    """
    policy = OnnxPolicy(bundle)
    verify_golden(bundle, policy)
    golden = bundle.golden
    for frame in range(golden.frames):
        answer = policy.infer_arrays(golden.images[frame], golden.instruction[frame], golden.proprio[frame])
        for name in ("gates", "task_embedding"):
            error = float(np.abs(getattr(answer, name) - getattr(golden, name)[frame]).max())
            if not error <= 1e-3:
                raise BundleError(f"{bundle.path}: {name} differs from the training code's by {error:.3g}")


def answer_frames(policy: nn.Module, golden: GoldenInputs) -> GoldenFrames:
    """Return the golden inputs with the torch module's answers, one frame at a time."""
    instruction = np.stack([encode_instruction(text) for text in golden.instructions])
    answers: list[list[NDArray[np.float32]]] = []
    with torch.no_grad():
        for images, text, proprio in zip(golden.images, instruction, golden.proprio, strict=True):
            outputs = policy(
                *(torch.from_numpy(array[np.newaxis].copy()) for array in (images, text, proprio))
            )
            answers.append([output[0].numpy().astype(np.float32) for output in outputs])
    chunk, base_chunk, gates, embedding = (np.stack(column) for column in zip(*answers, strict=True))
    return GoldenFrames(
        images=golden.images,
        instruction=instruction,
        proprio=golden.proprio,
        chunk=chunk,
        base_chunk=base_chunk,
        gates=gates,
        task_embedding=embedding,
    )


def export_graph(policy: nn.Module, frames: GoldenFrames) -> bytes:
    """Return the checked ONNX model for batch 1, with shared initialisers and no trace of the source code."""
    images, instruction, proprio = (
        torch.from_numpy(array[:1].copy()) for array in (frames.images, frames.instruction, frames.proprio)
    )
    arguments = (images, instruction, proprio)
    return to_onnx(policy, arguments, ("chunk", "base_chunk", "gates", "task_embedding"))


def to_onnx(module: nn.Module, arguments: tuple[Tensor, Tensor, Tensor], outputs: tuple[str, ...]) -> bytes:
    """Return a module of (images, instruction, proprio) as a checked ONNX model of the arguments' shapes."""
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
        cleaned = clean_up(program.model).model
    model = onnx_ir.to_proto(cleaned)
    onnx.checker.check_model(model, full_check=True)
    for reason in why_not_tensorrt(model):
        _LOG.warning("TensorRT cannot run the graph: %s", reason)
    data: bytes = model.SerializeToString()
    return data


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


def facts_of(policy: DygroPolicy, training: TrainingSpec) -> PolicyFacts:
    """Return the facts of a policy, with or without residual, that was trained in the simulated cell."""
    config, space = policy.base.config, policy.base.action_space
    names = CAMERA_NAMES[: config.cameras]
    return PolicyFacts(
        cameras=cell_interface(config.image_size, names).cameras,
        rate_hz=CONTROL_RATE_HZ,
        normalisation=NormalisationSpec(
            applied="inside the graph",
            arm_reference="measured joint",
            gripper_reference=float(space.centre[GRIPPER_INDICES[0]]),
            scale=tuple(space.scale.tolist()),
            proprio_mean=tuple(space.proprio_mean.tolist()),
            proprio_std=tuple(space.proprio_std.tolist()),
        ),
        residual=no_residual() if policy.residual is None else _residual_spec(policy.residual),
        training=training,
    )


def _residual_spec(residual: ResidualPolicy) -> ResidualSpec:
    bound = [round(value, 6) for value in residual.bound.tolist()]
    return ResidualSpec(
        arm_bound=max(bound[index] for index in ARM_INDICES),
        gripper_bound=max(bound[index] for index in GRIPPER_INDICES),
        experts=residual.config.experts,
        active_experts=residual.config.top_m,
    )


def cell_golden_inputs(cell: Cell, tasks: tuple[str, ...], seeds: Sequence[int]) -> GoldenInputs:
    """Return one frame of each task and seed from a simulated cell, the arms moved a little from home.

    Args:
        cell: Cell with the policy's cameras.
        tasks: Tasks to show.
        seeds: Episode seeds, such as those of `SeedPurpose.TESTS`.
    """
    frames: list[tuple[NDArray[np.uint8], str, NDArray[np.float32]]] = []
    for task in tasks:
        for seed in seeds:
            cell.reset(task, seed)
            rng = np.random.default_rng([seed, *task.encode()])
            target = cell.proprio() + rng.uniform(-0.25, 0.25, ACTION_SIZE).astype(np.float32)
            for _ in range(8):
                cell.step(np.clip(target, JOINT_LOWER, JOINT_UPPER))
            frames.append((cell.images(), cell.instruction, cell.proprio()))
    images, instructions, proprio = zip(*frames, strict=True)
    return GoldenInputs(np.stack(images), tuple(instructions), np.stack(proprio))


def describe(bundle_path: Path) -> str:
    """Return one line on a bundle, for a command's last word."""
    bundle = read_bundle(bundle_path)
    size_mb = bundle.graph_path.stat().st_size / 1e6
    training = bundle.manifest.training
    return f"{bundle_path}: {training.method}, seed {training.seed}, graph {size_mb:.1f} MB, parity checked"
