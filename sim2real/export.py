"""From a trained torch policy to a policy bundle: ONNX graph, manifest and golden frames.

The graph has fixed shapes (batch 1) and holds everything between uint8 camera pictures and a chunk in joint
units. It is held against the torch module on the golden frames before the bundle gets its name, so a
bundle that exists has passed. Knows nothing of training: whoever trained says where the policy comes from.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dygro_ros.bundle import GRAPH_FILE, Bundle, read_bundle, verify_golden, write_bundle
from dygro_ros.errors import BundleError
from dygro_ros.golden import GoldenFrames
from dygro_ros.inference import OnnxPolicy, Provider
from dygro_ros.instruction_codec import BYTES, InstructionCodec
from dygro_ros.layout import (
    ACTION_SIZE,
    ARM_INDICES,
    CONTROL_RATE_HZ,
    GRIPPER_INDICES,
    JOINT_LOWER,
    JOINT_UPPER,
)
from dygro_ros.manifest import (
    ActionSpec,
    CameraSpec,
    Contract,
    NormalisationSpec,
    ProprioSpec,
    ResidualSpec,
    TrainingSpec,
    expected_graph,
    standard_gripper,
    standard_joints,
)
from dygro_ros.manifest_section import (
    GOLDEN_TOLERANCE_RAD,
    HALF_PRECISION_TOLERANCE_RAD,
    GoldenSpec,
    HalfPrecisionGoldenSpec,
)
from models.dygro_policy import DygroPolicy
from models.half_precision import HALF_TYPES, in_half_precision
from models.residual import ResidualPolicy
from sim2real.bundle_episodes import Cell, cell_interface
from sim2real.cell.work_cell import CAMERA_NAMES
from sim2real.onnx_graph import EXTERNAL_ABOVE, write_onnx

Precision = Literal["float32", "float16", "bfloat16"]


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
    codec: InstructionCodec = BYTES
    """How the policy reads instructions."""


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
    policy: nn.Module,
    facts: PolicyFacts,
    golden: GoldenInputs,
    out: Path,
    *,
    overwrite: bool = False,
    precision: Precision = "float32",
    provider: Provider = "cpu",
    external_above: int = EXTERNAL_ABOVE,
) -> Bundle:
    """Export a policy and write the bundle.

    Args:
        policy: Maps images (1, V, H, W, 3) uint8, encoded instruction (1, L) and proprio (1, 14) float32 to
            (chunk (1, h, 14), base chunk (1, h, 14), gates (1, E), task embedding (1, T)); joint units.
        facts: Cameras, rate, normalisation, residual and where the policy comes from.
        golden: Frames whose answers go into the bundle.
        out: Folder to make.
        overwrite: Replace an earlier bundle at `out`.
        precision: Of backbone and fusion; the golden answers are float32's whatever it is.
        provider: What runs the graph when it is held against torch; bfloat16 needs a GPU.
        external_above: Bytes of parameters above which they get a file of their own.

    Raises:
        BundleError: `out` exists, the graph's answers differ from torch's by more than 1e-4 rad (1e-2 in half
            precision), or what the facts say contradicts what the policy does; `out` is then untouched.
    """
    was_training = policy.training
    policy.eval()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.graph.", dir=out.parent) as folder:
        try:
            frames = answer_frames(policy, golden, facts.codec)
            graph, *data = write_graph(
                rounded(policy, precision), frames, Path(folder) / GRAPH_FILE, external_above
            )
        finally:
            policy.train(was_training)
        return write_bundle(
            out,
            _contract(facts, frames, precision),
            graph.read_bytes(),
            frames,
            extra_files={**facts.codec.files, **{path.name: path for path in data}},
            overwrite=overwrite,
            verify=lambda bundle: verify_parity(bundle, provider),
        )


def _contract(facts: PolicyFacts, frames: GoldenFrames, precision: Precision) -> Contract:
    spec = facts.codec.spec
    return Contract(
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
        instruction=spec,
        training=facts.training,
        graph=expected_graph(
            facts.cameras, frames.chunk.shape[1], facts.residual.experts, frames.task_embedding.shape[1], spec
        ),
        golden=GoldenSpec(frames=frames.frames, tolerance_rad=GOLDEN_TOLERANCE_RAD)
        if precision == "float32"
        else HalfPrecisionGoldenSpec(
            frames=frames.frames, tolerance_rad=HALF_PRECISION_TOLERANCE_RAD, precision=precision
        ),
    )


def verify_parity(bundle: Bundle, provider: Provider = "cpu") -> None:
    """Run the bundle's graph on its golden frames, gates and task embedding included.

    Raises:
        BundleError: An answer differs from the training code's.
    """
    policy = OnnxPolicy(bundle, provider=provider)
    verify_golden(bundle, policy)
    golden = bundle.golden
    largest = 1e-3 if bundle.manifest.golden.tolerance_rad <= GOLDEN_TOLERANCE_RAD else 0.1
    for frame in range(golden.frames):
        answer = policy.infer_arrays(golden.images[frame], golden.instruction[frame], golden.proprio[frame])
        for name in ("gates", "task_embedding"):
            error = float(np.abs(getattr(answer, name) - getattr(golden, name)[frame]).max())
            if not error <= largest:
                raise BundleError(f"{bundle.path}: {name} differs from the training code's by {error:.3g}")


def answer_frames(policy: nn.Module, golden: GoldenInputs, codec: InstructionCodec = BYTES) -> GoldenFrames:
    """Return the golden inputs with the torch module's answers, one frame at a time."""
    instruction = np.stack([codec.encode(text) for text in golden.instructions])
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


def write_graph(policy: nn.Module, frames: GoldenFrames, path: Path, external_above: int) -> list[Path]:
    """Write the checked ONNX model for batch 1, with shared initialisers and no trace of the source code."""
    images, instruction, proprio = (
        torch.from_numpy(array[:1].copy()) for array in (frames.images, frames.instruction, frames.proprio)
    )
    outputs = ("chunk", "base_chunk", "gates", "task_embedding")
    return write_onnx(policy, (images, instruction, proprio), outputs, path, external_above=external_above)


def rounded(policy: nn.Module, precision: Precision) -> nn.Module:
    """Return the policy with backbone and fusion in that precision.

    Raises:
        BundleError: The policy has no part that may be rounded.
    """
    if precision == "float32":
        return policy
    if not isinstance(policy, DygroPolicy):
        raise BundleError(f"precision {precision} is for a DygroPolicy, got a {type(policy).__name__}")
    try:
        base = in_half_precision(policy.base, HALF_TYPES[precision])
    except ValueError as error:
        raise BundleError(f"precision {precision}: {error}") from error
    return DygroPolicy(base, policy.residual).eval()


def facts_of(policy: DygroPolicy, training: TrainingSpec, codec: InstructionCodec = BYTES) -> PolicyFacts:
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
        codec=codec,
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
    size_mb = sum(spec.bytes for name, spec in bundle.manifest.files.items() if GRAPH_FILE in name) / 1e6
    training = bundle.manifest.training
    return f"{bundle_path}: {training.method}, seed {training.seed}, graph {size_mb:.1f} MB, parity checked"
