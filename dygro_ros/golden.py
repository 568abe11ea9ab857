"""Golden frames: fixed inputs with the training code's answers, and the contract sealed beside them.

The seal is a copy of the manifest (without its list of files) inside golden.npz: whoever edits one
field of manifest.json afterwards is told which one, also where nothing else in a bundle depends on it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dygro_ros.layout import ARM_INDICES, GRIPPER_INDICES, JOINT_LOWER, JOINT_UPPER
from dygro_ros.manifest import SHAPES_FROM, Contract
from dygro_ros.manifest_section import TokenInstructionSpec

_SEAL = "contract"
_DTYPES = {
    "images": (np.dtype(np.uint8),),
    "instruction": (np.dtype(np.uint8), np.dtype(np.int32)),
}
_FLOAT = (np.dtype(np.float32),)


@dataclass(frozen=True)
class GoldenFrames:
    """N fixed inputs and the training code's answers; chunks in joint units."""

    images: NDArray[np.uint8]
    """(N, V, H, W, 3)."""
    instruction: NDArray[np.uint8] | NDArray[np.int32]
    """(N, 96) bytes, or (N, T) tokens."""
    proprio: NDArray[np.float32]
    """(N, 14)."""
    chunk: NDArray[np.float32]
    """(N, h, 14)."""
    base_chunk: NDArray[np.float32]
    """(N, h, 14)."""
    gates: NDArray[np.float32]
    """(N, E)."""
    task_embedding: NDArray[np.float32]
    """(N, T)."""

    @property
    def frames(self) -> int:
        """N."""
        return len(self.images)


def pack_golden(golden: GoldenFrames, contract: Contract) -> bytes:
    """Return golden.npz with the contract sealed into it."""
    text = contract.model_dump_json(exclude={"files"})
    buffer = io.BytesIO()
    arrays: dict[str, NDArray[Any]] = {field.name: getattr(golden, field.name) for field in fields(golden)}
    arrays[_SEAL] = np.frombuffer(text.encode("utf-8"), dtype=np.uint8)
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack_golden(path: Path) -> tuple[GoldenFrames, Any]:
    """Return the golden frames and the sealed contract as plain JSON values.

    Raises:
        ValueError: An array has another type, or the seal is not JSON.
        KeyError: An array is missing.
        OSError: The file cannot be read.
    """
    with np.load(path, allow_pickle=False) as archive:
        arrays = {field.name: archive[field.name] for field in fields(GoldenFrames)}
        sealed = json.loads(archive[_SEAL].tobytes().decode("utf-8"))
    for name, array in arrays.items():
        wanted = _DTYPES.get(name, _FLOAT)
        if array.dtype not in wanted:
            raise ValueError(f"{name} must be {' or '.join(map(str, wanted))}, got {array.dtype}")
        array.setflags(write=False)
    return GoldenFrames(**arrays), sealed


def golden_contradictions(contract: Contract, golden: GoldenFrames) -> Iterator[tuple[str, Any, Any]]:
    """Yield (field, what it says, what the golden frames show) for each contradiction."""
    specs = {
        spec.name: (f"graph.{side}[{index}].shape", spec.shape)
        for side, tensors in (("inputs", contract.graph.inputs), ("outputs", contract.graph.outputs))
        for index, spec in enumerate(tensors)
    }
    for field in fields(golden):
        array = getattr(golden, field.name)
        if len(array) != contract.golden.frames:
            yield "golden.frames", contract.golden.frames, f"{len(array)} {field.name}"
            return
        place, shape = specs[field.name]
        seen = (1, *array.shape[1:])
        if seen != shape:
            for axis, (stated, found) in enumerate(zip(shape, seen, strict=False)):
                if stated != found:
                    yield SHAPES_FROM.get(f"{place}[{axis}]", place), stated, f"{found} in {field.name}"
            if len(seen) != len(shape):
                yield place, list(shape), list(seen)
            return
        if not np.isfinite(array).all():
            yield f"golden, {field.name}", "finite", "a value that is not finite"
            return
    spec = contract.instruction
    if golden.instruction.dtype != np.dtype(spec.dtype):
        yield "instruction.encoding", spec.encoding, f"{golden.instruction.dtype} in instruction"
        return
    padding = spec.padding if isinstance(spec, TokenInstructionSpec) else 0
    if not (golden.instruction != padding).any(axis=1).all():
        yield "instruction.empty_allowed", False, "an empty instruction"
    tolerance = contract.golden.tolerance_rad
    for name in ("chunk", "base_chunk"):
        values = getattr(golden, name)
        outside = (values < JOINT_LOWER - tolerance) | (values > JOINT_UPPER + tolerance)
        for joint in np.flatnonzero(outside.any(axis=(0, 1))):
            limits = contract.joints[joint]
            seen = values[..., joint]
            yield f"joints[{joint}]", [limits.lower, limits.upper], [float(seen.min()), float(seen.max())]
    yield from _residual_contradictions(contract, golden, tolerance)


def _residual_contradictions(
    contract: Contract, golden: GoldenFrames, tolerance: float
) -> Iterator[tuple[str, Any, Any]]:
    """Hold the difference of executed and base chunk, and the gates, against the stated residual."""
    residual = contract.residual
    scale = np.asarray(contract.normalisation.scale)
    units = np.abs(golden.chunk.astype(np.float64) - golden.base_chunk).max(axis=(0, 1)) / scale
    slack = tolerance / scale
    for field, bound, joints in (
        ("residual.arm_bound", residual.arm_bound, list(ARM_INDICES)),
        ("residual.gripper_bound", residual.gripper_bound, list(GRIPPER_INDICES)),
    ):
        if (units[joints] > bound + slack[joints]).any():
            yield field, bound, f"a residual of {units[joints].max():.4g} normalised units"
    active = (golden.gates > 0).sum(axis=1)
    if int(active.max()) > residual.active_experts:
        yield "residual.active_experts", residual.active_experts, f"{int(active.max())} gates above zero"
    total = 1.0 if residual.active_experts else 0.0
    if np.abs(golden.gates.sum(axis=1) - total).max() > 1e-4:
        yield "residual.active_experts", residual.active_experts, "gates that do not sum to 1"
