"""The base of every part of a manifest, and how a manifest states what the graph reads of an instruction."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


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


AnyInstruction = InstructionSpec | TokenInstructionSpec
