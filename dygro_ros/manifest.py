"""What a policy bundle says about itself: every fact that can differ between training and robot.

All fields are required: no default stands in for a missing one, unknown ones are refused, and types are
not coerced. Checks here concern the manifest alone; `dygro_ros.bundle` holds it against files and robot.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from dygro_ros.layout import (
    ACTION_SIZE,
    GRIPPER_INDICES,
    INSTRUCTION_BYTES,
    JOINT_LOWER,
    JOINT_NAMES,
    JOINT_UNITS,
    JOINT_UPPER,
)
from dygro_ros.manifest_section import VARIANTS, AnyGolden, AnyInstruction, InstructionSpec, Section

SCHEMA_VERSION = 1
# Stage I alone, and Stage I trained for longer.
METHODS_WITHOUT_RESIDUAL = ("base", "sft")
BYTE_INSTRUCTION = InstructionSpec(
    encoding="utf-8 bytes, zero padded", length=INSTRUCTION_BYTES, empty_allowed=False
)

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{7,40}(-dirty)?|unknown)$")]
Pixels = Annotated[int, Field(ge=1, le=8192)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]


class CropSpec(Section):
    """Part of the camera's picture that the policy sees, in fractions of the source picture."""

    left: Fraction
    top: Fraction
    right: Fraction
    bottom: Fraction

    @model_validator(mode="after")
    def _has_area(self) -> CropSpec:
        if not (self.left < self.right and self.top < self.bottom):
            raise ValueError("left must be below right, and top below bottom")
        return self


WHOLE_PICTURE = CropSpec(left=0.0, top=0.0, right=1.0, bottom=1.0)


class CameraSpec(Section):
    """One camera picture as the graph expects it: crop the source, then rotate, then resize."""

    name: Name
    width: Pixels
    """Width of the picture given to the graph [px]."""
    height: Pixels
    """Height of the picture given to the graph [px]."""
    colour_order: Literal["RGB"]
    crop: CropSpec
    rotation_deg: Literal[0, 90, 180, 270]
    """Clockwise, after the crop and before the resize [deg]."""


class JointSpec(Section):
    """One value of the action and of proprio; its place in the list is its index."""

    name: Name
    unit: Literal["rad", "fraction_open"]
    lower: float
    upper: float


class GripperSpec(Section):
    """What the two gripper values mean."""

    joints: tuple[Name, ...]
    closed: float
    open: float


class ProprioSpec(Section):
    """What the proprio input holds."""

    source: Literal["measured"]
    """Measured joints, never drive targets."""
    size: int


class ActionSpec(Section):
    """What one value of the chunk means to the arm."""

    kind: Literal["absolute_joint_position"]
    chunk_length: Annotated[int, Field(ge=1, le=1000)]
    """h, actions in one chunk, one per control step."""
    rate_hz: Positive
    """Control steps per second [Hz]."""


class NormalisationSpec(Section):
    """Statistics of the demonstrations: joint units = reference + scale x normalised, then clipped."""

    applied: Literal["inside the graph"]
    arm_reference: Literal["measured joint"]
    gripper_reference: float
    scale: tuple[Positive, ...]
    """(14,) joint units for one normalised unit, in the order of the joints."""
    proprio_mean: tuple[float, ...]
    """(14,) joint units, subtracted from the measured joints."""
    proprio_std: tuple[Positive, ...]
    """(14,) joint units, by which they are then divided."""


class ResidualSpec(Section):
    """Mixture of residuals on the base chunk; a base policy has bounds 0, one expert and m = 0."""

    arm_bound: Fraction
    """alpha of the arm joints, normalised units."""
    gripper_bound: Fraction
    """alpha of the grippers, normalised units."""
    experts: Annotated[int, Field(ge=1, le=1024)]
    """E."""
    active_experts: Annotated[int, Field(ge=0)]
    """m, the experts mixed for one frame."""


class TrainingSpec(Section):
    """Where the policy comes from."""

    method: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    commit: Commit
    seed: Annotated[int, Field(ge=0)]
    environment_steps: Annotated[int, Field(ge=0)]
    """Online environment steps that the policy was trained with; 0 for a base policy."""
    tasks: tuple[Name, ...]
    config_fingerprint: Sha256
    """SHA-256 of the run's resolved configuration."""


class TensorSpec(Section):
    """One input or output of the graph."""

    name: Name
    dtype: Literal["uint8", "int32", "float32"]
    shape: tuple[Annotated[int, Field(ge=1)], ...]


class GraphSpec(Section):
    """Names, types and fixed shapes of the graph."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class FileSpec(Section):
    """One file of the bundle."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256


class Contract(Section):
    """The manifest without its list of files: what training promises to the robot."""

    schema_version: Literal[1]
    cameras: Annotated[tuple[CameraSpec, ...], Field(min_length=1, max_length=16)]
    """In the order of the images input."""
    joints: tuple[JointSpec, ...]
    gripper: GripperSpec
    proprio: ProprioSpec
    action: ActionSpec
    normalisation: NormalisationSpec
    residual: ResidualSpec
    instruction: AnyInstruction
    training: TrainingSpec
    graph: GraphSpec
    golden: AnyGolden


class Manifest(Contract):
    """The whole of manifest.json."""

    files: dict[str, FileSpec]
    """Every other file of the bundle, by its path relative to the bundle, with forward slashes."""


def standard_joints() -> tuple[JointSpec, ...]:
    """Return the dual-arm layout of `dygro_ros.layout` as a manifest states it."""
    return tuple(
        JointSpec(
            name=name,
            unit="fraction_open" if unit == "fraction_open" else "rad",
            lower=round(float(lower), 6),
            upper=round(float(upper), 6),
        )
        for name, unit, lower, upper in zip(JOINT_NAMES, JOINT_UNITS, JOINT_LOWER, JOINT_UPPER, strict=True)
    )


def standard_gripper() -> GripperSpec:
    """Return the meaning of the gripper values in `dygro_ros.layout`."""
    return GripperSpec(joints=tuple(JOINT_NAMES[i] for i in GRIPPER_INDICES), closed=0.0, open=1.0)


def expected_graph(
    cameras: tuple[CameraSpec, ...],
    chunk_length: int,
    experts: int,
    task_embedding: int,
    instruction: AnyInstruction = BYTE_INSTRUCTION,
) -> GraphSpec:
    """Return the graph's interface that these facts imply, batch 1."""
    picture = (cameras[0].height, cameras[0].width, 3)
    chunk = (1, chunk_length, ACTION_SIZE)
    return GraphSpec(
        inputs=(
            TensorSpec(name="images", dtype="uint8", shape=(1, len(cameras), *picture)),
            TensorSpec(name="instruction", dtype=instruction.dtype, shape=(1, instruction.length)),
            TensorSpec(name="proprio", dtype="float32", shape=(1, ACTION_SIZE)),
        ),
        outputs=(
            TensorSpec(name="chunk", dtype="float32", shape=chunk),
            TensorSpec(name="base_chunk", dtype="float32", shape=chunk),
            TensorSpec(name="gates", dtype="float32", shape=(1, experts)),
            TensorSpec(name="task_embedding", dtype="float32", shape=(1, task_embedding)),
        ),
    )


def differences(found: Any, expected: Any, field: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (field, found, expected) for each place where two plain JSON-like values differ.

    Lists are compared item by item; a different length is one difference of the whole list. Numbers of
    different type (1 and 1.0) are equal, booleans and numbers are not.
    """
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in dict.fromkeys([*expected, *found]):
            place = f"{field}.{key}" if field else str(key)
            if key not in found or key not in expected:
                yield place, found.get(key, "nothing"), expected.get(key, "nothing")
            else:
                yield from differences(found[key], expected[key], place)
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for index, (one, other) in enumerate(zip(found, expected, strict=True)):
            yield from differences(one, other, f"{field}[{index}]")
    elif isinstance(found, bool) is not isinstance(expected, bool) or found != expected:
        yield field, found, expected


def inconsistencies(contract: Contract) -> Iterator[tuple[str, Any, Any]]:
    """Yield (field, what it says, what the other fields or the layout imply) for each contradiction."""
    yield from differences(
        [joint.model_dump(mode="json") for joint in contract.joints],
        [joint.model_dump(mode="json") for joint in standard_joints()],
        "joints",
    )
    yield from differences(
        contract.gripper.model_dump(mode="json"), standard_gripper().model_dump(mode="json"), "gripper"
    )
    yield from differences(contract.proprio.size, ACTION_SIZE, "proprio.size")
    if isinstance(contract.instruction, InstructionSpec):
        yield from differences(contract.instruction.length, INSTRUCTION_BYTES, "instruction.length")
    for name in ("scale", "proprio_mean", "proprio_std"):
        count = len(getattr(contract.normalisation, name))
        yield from differences(f"{count} values", f"{ACTION_SIZE} values", f"normalisation.{name}")
    first = contract.cameras[0]
    for index, camera in enumerate(contract.cameras):
        for size in ("width", "height"):
            yield from differences(getattr(camera, size), getattr(first, size), f"cameras[{index}].{size}")
        if camera.name in [other.name for other in contract.cameras[:index]]:
            yield f"cameras[{index}].name", camera.name, "a name that no camera before it has"
    residual = contract.residual
    if residual.active_experts > residual.experts:
        yield "residual.active_experts", residual.active_experts, f"at most {residual.experts} (experts)"
    if contract.training.method in METHODS_WITHOUT_RESIDUAL:
        absent = {"arm_bound": 0.0, "gripper_bound": 0.0, "experts": 1, "active_experts": 0}
        yield from differences(residual.model_dump(mode="json"), absent, "residual")
    elif residual.active_experts < 1:
        yield "residual.active_experts", residual.active_experts, "at least 1"
    embedding = contract.graph.outputs[-1].shape[-1] if contract.graph.outputs else 1
    implied = expected_graph(
        contract.cameras, contract.action.chunk_length, residual.experts, embedding, contract.instruction
    )
    for field, found, expected in differences(
        contract.graph.model_dump(mode="json"), implied.model_dump(mode="json"), "graph"
    ):
        source = SHAPES_FROM.get(field)
        yield field, found, f"{expected} ({source})" if source else expected


# Where the graph's shapes come from, so that a contradiction names both fields.
SHAPES_FROM = {
    "graph.inputs[0].shape[1]": "cameras",
    "graph.inputs[0].shape[2]": "cameras[0].height",
    "graph.inputs[0].shape[3]": "cameras[0].width",
    "graph.inputs[1].shape[1]": "instruction.length",
    "graph.outputs[0].shape[1]": "action.chunk_length",
    "graph.outputs[1].shape[1]": "action.chunk_length",
    "graph.outputs[2].shape[1]": "residual.experts",
}


def first_reason(error: ValidationError) -> str:
    """Return what pydantic found first, as `field: reason (got value)`."""
    first = error.errors(include_url=False)[0]
    place, reason, got = list(first["loc"]), first["msg"], str(first["input"])
    if len(place) > 1 and place[1] in VARIANTS.get(str(place[0]), ()):
        del place[1]
    missing = first["type"] in ("missing", "union_tag_not_found")
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        # The field that says which variant it is: told as any other wrong or missing field.
        context = first["ctx"]
        place.append(context["discriminator"].strip("'"))
        if missing:
            reason = "Field required"
        else:
            reason = "Input should be " + context["expected_tags"].replace("', '", "' or '")
            got = context["tag"]
    field = ""
    for part in place:
        field += f"[{part}]" if isinstance(part, int) else f".{part}" if field else part
    shown = "" if missing or not field else f" (got {got[:80]!r})"
    return f"{field or 'the whole file'}: {reason}{shown}"
