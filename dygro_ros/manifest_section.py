"""The base of every part of a manifest, and the parts with two variants: instruction and golden frames.

A variant is chosen before its fields are checked, so that a wrong field is held against its own limits.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

GOLDEN_TOLERANCE_RAD = 1e-4
# Half a degree: float16 and bfloat16 round on each backend in their own way.
HALF_PRECISION_TOLERANCE_RAD = 1e-2


class Section(BaseModel):
    """Base of every part of the manifest: strict types, nothing unknown, nothing changed afterwards."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class InstructionSpec(Section):
    """How the text of the instruction becomes the graph's input: as bytes."""

    encoding: Literal["utf-8 bytes, zero padded"]
    length: int
    """Bytes."""
    empty_allowed: Literal[False]

    @property
    def dtype(self) -> Literal["uint8"]:
        """Type of the graph's input."""
        return "uint8"


class TokenInstructionSpec(Section):
    """How the text of the instruction becomes the graph's input: as tokens of a language model."""

    encoding: Literal["tokens, padded"]
    length: Annotated[int, Field(ge=1, le=4096)]
    """Tokens."""
    padding: Annotated[int, Field(ge=0)]
    """Token that stands for nothing."""
    tokenizer: Literal["tokenizer.json"]
    """File of the bundle that makes tokens of text."""
    empty_allowed: Literal[False]

    @property
    def dtype(self) -> Literal["int32"]:
        """Type of the graph's input."""
        return "int32"


class GoldenSpec(Section):
    """Fixed inputs with the training code's answers."""

    frames: Annotated[int, Field(ge=1, le=1024)]
    tolerance_rad: Annotated[float, Field(gt=0.0, le=GOLDEN_TOLERANCE_RAD)]
    """Largest difference allowed to any golden chunk value [rad; fraction for grippers]."""


class HalfPrecisionGoldenSpec(Section):
    """The same for a graph that computes in half precision; the answers are still float32's."""

    frames: Annotated[int, Field(ge=1, le=1024)]
    tolerance_rad: Annotated[float, Field(gt=0.0, le=HALF_PRECISION_TOLERANCE_RAD)]
    precision: Literal["float16", "bfloat16"]
    """Of backbone and fusion."""


def _golden_variant(value: Any) -> str:
    halved = "precision" in value if isinstance(value, dict) else isinstance(value, HalfPrecisionGoldenSpec)
    return "half precision" if halved else "float32"


AnyInstruction = Annotated[InstructionSpec | TokenInstructionSpec, Field(discriminator="encoding")]
AnyGolden = Annotated[
    Annotated[GoldenSpec, Tag("float32")] | Annotated[HalfPrecisionGoldenSpec, Tag("half precision")],
    Discriminator(_golden_variant),
]
VARIANTS = {
    "instruction": ("utf-8 bytes, zero padded", "tokens, padded"),
    "golden": ("float32", "half precision"),
}
"""The names of the variants, which pydantic puts behind the section's own into the path of a wrong field."""
