"""Text to tokens as the language model knows them, and refused where it does not fit."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from vision_language_fixtures import END_OF_TEXT, PADDING, TEXTS, TOKENS, tiny_codec, tiny_tokenizer

from dygro_ros.errors import DependencyError, UserError
from dygro_ros.instruction_codec import BYTES, TOKENIZER_FILE, TokenCodec, codec_of, read_tokenizer
from dygro_ros.layout import encode_instruction


def test_bytes_stay_what_they_were() -> None:
    np.testing.assert_array_equal(BYTES.encode("lift"), encode_instruction("lift"))
    assert BYTES.files == {}
    assert codec_of(BYTES.spec, Path("nowhere")) is BYTES


def test_tokens_are_merged_padded_and_say_the_text_again() -> None:
    codec = tiny_codec()
    found = codec.encode("lift the cup")
    assert found.dtype == np.int32
    assert found.shape == (TOKENS,)
    used = found[found != PADDING]
    assert 0 < len(used) < len("lift the cup")
    assert (found[len(used) :] == PADDING).all()
    assert read_tokenizer(tiny_tokenizer(), "here").decode(used.tolist()) == "lift the cup"


def test_other_words_are_other_tokens() -> None:
    first, second = (tiny_codec().encode(text) for text in TEXTS)
    assert (first != second).any()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", f"1 to {TOKENS} tokens, got 0"),
        ("x" * (TOKENS + 1), f"1 to {TOKENS} tokens, got {TOKENS + 1}"),
        (f"lift {END_OF_TEXT}", f"must not hold the padding token {PADDING}"),
    ],
)
def test_what_does_not_fit_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        tiny_codec().encode(text)


def test_room_is_counted_in_tokens_and_not_in_bytes() -> None:
    text = "the " * 30 + "cup"
    roomy = TokenCodec(tiny_tokenizer(), 128, PADDING)
    assert BYTES.size(text) == 123 > BYTES.spec.length
    assert roomy.size(text) == 61 == (roomy.encode(text) != PADDING).sum()
    with pytest.raises(ValueError, match="1 to 60 tokens, got 61"):
        TokenCodec(tiny_tokenizer(), 60, PADDING).encode(text)
    assert BYTES.size("thé") == 4


def test_a_bundle_carries_what_encodes_it(tmp_path: Path) -> None:
    codec = tiny_codec()
    for name, content in codec.files.items():
        (tmp_path / name).write_bytes(content)
    again = codec_of(codec.spec, tmp_path)
    np.testing.assert_array_equal(again.encode(TEXTS[0]), codec.encode(TEXTS[0]))
    assert again.spec == codec.spec
    (tmp_path / TOKENIZER_FILE).unlink()
    with pytest.raises(
        UserError, match=r"instruction\.tokenizer is tokenizer\.json, but there is no such file"
    ):
        codec_of(codec.spec, tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "where/tokenizer.json is not a tokenizer"),
        (b"{}", "is not a tokenizer: expected JSON with model.type"),
        (tiny_tokenizer().decode().encode("utf-16"), "is not a tokenizer: expected JSON with model.type"),
        (b'{"model": {"type": "BPE"}}', "not a tokenizer that can be read: Missing vocab/"),
        (
            tiny_tokenizer().replace(b'"ByteLevel"', b'"X"'),
            "tokenizer.json is not a tokenizer that can be read",
        ),
        (b'{"model": {"type": "Unigram"}}', "expected a tokenizer of type BPE, as Qwen's is, got 'Unigram'"),
    ],
)
def test_a_file_that_is_no_tokenizer_is_named(content: bytes, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_tokenizer(content, "where/tokenizer.json")


def test_what_is_no_refusal_of_the_library_is_not_called_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tokenizer:
        @staticmethod
        def from_str(text: str) -> Any:
            raise MemoryError

    monkeypatch.setattr(importlib, "import_module", lambda name: SimpleNamespace(Tokenizer=Tokenizer))
    with pytest.raises(MemoryError):
        read_tokenizer(tiny_tokenizer(), "tokenizer.json")


def test_a_missing_library_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(DependencyError, match="pip install tokenizers"):
        read_tokenizer(tiny_tokenizer(), "tokenizer.json")
