"""From the text of an instruction to what the graph reads: bytes, or a language model's tokens.

A policy trained from scratch reads UTF-8 bytes. A pretrained language model reads the tokens it was trained
on, so its bundle carries `tokenizer.json`, and the library `tokenizers` (no torch, no transformers) is
imported when such a bundle is opened, not before. Training encodes with this same code.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import DependencyError, UserError
from dygro_ros.layout import encode_instruction
from dygro_ros.manifest import BYTE_INSTRUCTION
from dygro_ros.manifest_section import AnyInstruction, InstructionSpec, TokenInstructionSpec

TOKENIZER_FILE: Final = "tokenizer.json"
Encoded = NDArray[np.uint8] | NDArray[np.int32]


class InstructionCodec(Protocol):
    """How a policy reads text."""

    @property
    def spec(self) -> AnyInstruction:
        """What the manifest says of it."""

    @property
    def files(self) -> dict[str, bytes]:
        """What a bundle must carry for it, by relative path."""

    def size(self, text: str) -> int:
        """Return how much of `spec.length` a text takes."""

    def encode(self, text: str) -> Encoded:
        """Return the graph's input for one instruction, shape (L,).

        Raises:
            ValueError: The text is empty or too long.
        """


@dataclass(frozen=True)
class ByteCodec:
    """UTF-8 bytes, zero padded, (96,) uint8."""

    @property
    def spec(self) -> InstructionSpec:
        """What the manifest says of it."""
        return BYTE_INSTRUCTION

    @property
    def files(self) -> dict[str, bytes]:
        """No file."""
        return {}

    def size(self, text: str) -> int:
        """Return the number of bytes; there is room for 96."""
        return len(text.encode())

    def encode(self, text: str) -> NDArray[np.uint8]:
        """Return the bytes, (96,).

        Raises:
            ValueError: The text is empty or longer than 96 bytes.
        """
        return encode_instruction(text)


BYTES = ByteCodec()


class TokenCodec:
    """A language model's tokens, padded, (T,) int32."""

    def __init__(self, tokenizer: bytes, length: int, padding: int, where: str = TOKENIZER_FILE) -> None:
        """Read the tokenizer.

        Args:
            tokenizer: Content of tokenizer.json.
            length: Tokens T of a padded instruction.
            padding: Token that pads; no instruction may hold it.
            where: The file's place, for messages.

        Raises:
            DependencyError: The library `tokenizers` is not installed.
            UserError: The content is no tokenizer.
        """
        self._content = tokenizer
        self._tokenizer = read_tokenizer(tokenizer, where)
        self.length = length
        self.padding = padding

    @property
    def spec(self) -> TokenInstructionSpec:
        """What the manifest says of it."""
        return TokenInstructionSpec(
            encoding="tokens, padded",
            length=self.length,
            padding=self.padding,
            tokenizer=TOKENIZER_FILE,
            empty_allowed=False,
        )

    @property
    def files(self) -> dict[str, bytes]:
        """The tokenizer."""
        return {TOKENIZER_FILE: self._content}

    def size(self, text: str) -> int:
        """Return the number of tokens; there is room for T."""
        return len(self._tokens(text))

    def encode(self, text: str) -> NDArray[np.int32]:
        """Return the tokens, (T,).

        Raises:
            ValueError: The text is empty, longer than T tokens, or holds the padding token.
        """
        found = self._tokens(text)
        if not found or len(found) > self.length:
            raise ValueError(f"instruction must have 1 to {self.length} tokens, got {len(found)}: {text!r}")
        if self.padding in found:
            raise ValueError(f"instruction must not hold the padding token {self.padding}: {text!r}")
        padded = np.full(self.length, self.padding, dtype=np.int32)
        padded[: len(found)] = found
        return padded

    def _tokens(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return found


def read_tokenizer(content: bytes, where: str) -> Any:
    """Return the `tokenizers.Tokenizer` that tokenizer.json describes.

    Raises:
        DependencyError: The library is not installed.
        UserError: The content is no tokenizer.
    """
    try:
        library = importlib.import_module("tokenizers")
    except ImportError as error:
        raise DependencyError(
            f"{where}: a policy that reads tokens needs the library tokenizers: pip install tokenizers"
        ) from error
    try:
        text = content.decode("utf-8")
        kind = json.loads(text)["model"]["type"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{where} is not a tokenizer: expected JSON with model.type ({error})") from error
    if kind != "BPE":
        raise UserError(f"{where}: expected a tokenizer of type BPE, as Qwen's is, got {kind!r}")
    try:
        return library.Tokenizer.from_str(text)
    except Exception as error:
        # The library refuses a file by Exception itself, which nothing narrower catches; a class of it is
        # no refusal.
        if type(error) is Exception:
            raise UserError(f"{where} is not a tokenizer that can be read: {error}") from error
        raise


def codec_of(instruction: AnyInstruction, folder: Path) -> InstructionCodec:
    """Return the codec that a bundle's manifest states, with its file read from the bundle's folder.

    Raises:
        DependencyError: The library `tokenizers` is needed and not installed.
        UserError: The bundle's tokenizer is none, or is not there.
    """
    if isinstance(instruction, InstructionSpec):
        return BYTES
    place = folder / instruction.tokenizer
    if not place.is_file():
        raise UserError(
            f"{folder}: instruction.tokenizer is {instruction.tokenizer}, but there is no such file"
        )
    return TokenCodec(place.read_bytes(), instruction.length, instruction.padding, str(place))
