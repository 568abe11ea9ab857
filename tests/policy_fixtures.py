"""A small policy written twice, as an ONNX graph and in numpy, and bundles made of it (no torch)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
from numpy.typing import NDArray

from dygro_ros.bundle import Bundle, RobotInterface, write_bundle
from dygro_ros.golden import GoldenFrames
from dygro_ros.layout import JOINT_LOWER, JOINT_UPPER, encode_instruction
from dygro_ros.manifest import (
    WHOLE_PICTURE,
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
from dygro_ros.manifest_section import GoldenSpec, InstructionSpec

CHUNK, EXPERTS, EMBEDDING, SIZE_PX = 4, 3, 5, 16
SCALE = tuple(0.5 if i in (6, 13) else 0.2 for i in range(14))
ARM_BOUND, GRIPPER_BOUND = 0.1, 0.3

_GRAPH = """
<ir_version: 8, opset_import: ["" : 18]>
policy (uint8[1,1,16,16,3] images, uint8[1,96] instruction, float[1,14] proprio)
  => (float[1,4,14] chunk, float[1,4,14] base_chunk, float[1,3] gates, float[1,5] task_embedding)
<float[3] grey_scale = {0.003, 0.002, 0.001}, float red_scale = {0.004}, int64[1] last = {4},
 float[1,4,1] ramp = {0.01, 0.02, 0.03, 0.04}, int64[1] one = {1}, int64[3] all_axes = {1, 2, 3},
 int64[1] axis_one = {1}, float[1,3] gate_values = {0.75, 0.25, 0.0}, int64[2] starts = {0, 0},
 int64[2] ends = {1, 5}, float text_scale = {0.001}>
{
  pixels = Cast <to = 1> (images)
  colours = ReduceMean <keepdims = 0> (pixels, all_axes)
  weighted = Mul (colours, grey_scale)
  grey = ReduceSum <keepdims = 1> (weighted, one)
  letters = Cast <to = 1> (instruction)
  letter_mean = ReduceMean <keepdims = 1> (letters, one)
  text = Mul (letter_mean, text_scale)
  row = Add (proprio, text)
  step = Unsqueeze (row, axis_one)
  offsets = Mul (ramp, grey)
  free_base = Add (step, offsets)
  low_base = Max (free_base, lower)
  base_chunk = Min (low_base, upper)
  free = Add (base_chunk, residual)
  low = Max (free, lower)
  chunk = Min (low, upper)
  gates = Identity (gate_values)
  task_embedding = Slice (letters, starts, ends)
}
"""
RESIDUAL = (0.05 * np.asarray(SCALE)).astype(np.float32)


def graph_bytes() -> bytes:
    """Return the small policy as an ONNX model."""
    model = onnx.parser.parse_model(_GRAPH)
    for name, values in (("lower", JOINT_LOWER), ("upper", JOINT_UPPER), ("residual", RESIDUAL)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(values.copy(), name))
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data


def answer(
    images: NDArray[Any], instruction: NDArray[Any], proprio: NDArray[Any]
) -> tuple[NDArray[Any], ...]:
    """Return (chunk, base chunk, gates, task embedding) for one frame, in numpy."""
    colours = images.astype(np.float64).mean(axis=(0, 1, 2))
    grey = float(colours @ np.array([0.003, 0.002, 0.001]))
    text = instruction.astype(np.float64).mean() * 0.001
    base = proprio + text + np.array([0.01, 0.02, 0.03, 0.04])[:, None] * grey
    base = np.clip(base, JOINT_LOWER, JOINT_UPPER)
    chunk = np.clip(base + RESIDUAL, JOINT_LOWER, JOINT_UPPER)
    gates = np.array([0.75, 0.25, 0.0])
    return tuple(part.astype(np.float32) for part in (chunk, base, gates, instruction[:EMBEDDING]))


def random_frames(count: int, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return (images, instruction bytes, proprio) for `count` frames."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 1, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    text = np.stack([encode_instruction(f"lift object {i}") for i in range(count)])
    proprio = (JOINT_LOWER + rng.random((count, 14)) * (JOINT_UPPER - JOINT_LOWER)).astype(np.float32)
    return images, text, proprio


def golden_frames(count: int = 3) -> GoldenFrames:
    """Return golden frames answered by the numpy policy."""
    images, text, proprio = random_frames(count)
    answers = [answer(*frame) for frame in zip(images, text, proprio, strict=True)]
    return GoldenFrames(images, text, proprio, *(np.stack(part) for part in zip(*answers, strict=True)))


def cameras() -> tuple[CameraSpec, ...]:
    """Return the one camera of the small policy."""
    return (
        CameraSpec(
            name="head_camera",
            width=SIZE_PX,
            height=SIZE_PX,
            colour_order="RGB",
            crop=WHOLE_PICTURE,
            rotation_deg=0,
        ),
    )


def training_spec(method: str = "dygro", seed: int = 0) -> TrainingSpec:
    """Return a plausible record of where a policy comes from."""
    return TrainingSpec(
        method=method,
        commit="0123abc",
        seed=seed,
        environment_steps=0 if method == "base" else 1000,
        tasks=("stack_bowls_two",),
        config_fingerprint="0" * 64,
    )


def normalisation() -> NormalisationSpec:
    """Return the small policy's statistics."""
    return NormalisationSpec(
        applied="inside the graph",
        arm_reference="measured joint",
        gripper_reference=0.5,
        scale=SCALE,
        proprio_mean=(0.0,) * 14,
        proprio_std=(1.0,) * 14,
    )


def contract() -> Contract:
    """Return the small policy's contract."""
    return Contract(
        schema_version=1,
        cameras=cameras(),
        joints=standard_joints(),
        gripper=standard_gripper(),
        proprio=ProprioSpec(source="measured", size=14),
        action=ActionSpec(kind="absolute_joint_position", chunk_length=CHUNK, rate_hz=25.0),
        normalisation=normalisation(),
        residual=ResidualSpec(
            arm_bound=ARM_BOUND, gripper_bound=GRIPPER_BOUND, experts=EXPERTS, active_experts=2
        ),
        instruction=InstructionSpec(encoding="utf-8 bytes, zero padded", length=96, empty_allowed=False),
        training=training_spec(),
        graph=expected_graph(cameras(), CHUNK, EXPERTS, EMBEDDING),
        golden=GoldenSpec(frames=3, tolerance_rad=1e-4),
    )


def make_bundle(out: Path, **changes: Any) -> Bundle:
    """Write the small policy's bundle; `changes` replace parts of its contract."""
    return write_bundle(out, contract().model_copy(update=changes), graph_bytes(), golden_frames())


def robot() -> RobotInterface:
    """Return a robot that fits the small policy."""
    parts = contract()
    return RobotInterface(parts.cameras, parts.joints, parts.gripper, parts.proprio, 25.0)
