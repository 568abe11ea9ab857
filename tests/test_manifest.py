"""What is wrong with a manifest is told by the field's own name; manifests without variants stay readable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dygro_ros.manifest import Manifest, first_reason, inconsistencies
from dygro_ros.manifest_section import GoldenSpec, HalfPrecisionGoldenSpec, InstructionSpec

OLD = Path(__file__).with_name("old_manifest.json").read_text("utf-8")
"""Written before there were tokens and half precision."""
BYTES, TOKENS = "'utf-8 bytes, zero padded'", "'tokens, padded'"
NONE = object()


def reason(section: str, changes: Any) -> str:
    """Return what is said of the old manifest with a section's fields changed, or the section replaced."""
    manifest = json.loads(OLD)
    if isinstance(changes, dict):
        fields = {**manifest[section], **changes}
        manifest[section] = {name: value for name, value in fields.items() if value is not NONE}
    else:
        manifest[section] = changes
    with pytest.raises(ValidationError) as caught:
        Manifest.model_validate_json(json.dumps(manifest))
    return first_reason(caught.value)


def test_an_old_manifest_can_be_read_and_says_what_it_said() -> None:
    manifest = Manifest.model_validate_json(OLD)
    assert manifest.model_dump(mode="json") == json.loads(OLD)
    assert (type(manifest.instruction), type(manifest.golden)) == (InstructionSpec, GoldenSpec)
    assert list(inconsistencies(manifest)) == []


def test_the_variant_follows_from_the_fields() -> None:
    manifest = json.loads(OLD)
    manifest["golden"] |= {"precision": "float16", "tolerance_rad": 0.01}
    assert isinstance(Manifest.model_validate_json(json.dumps(manifest)).golden, HalfPrecisionGoldenSpec)


@pytest.mark.parametrize(
    ("section", "changes", "says"),
    [
        ("instruction", {"length": "x"}, "instruction.length: Input should be a valid integer (got 'x')"),
        ("instruction", {"length": NONE}, "instruction.length: Field required"),
        (
            "instruction",
            {"encoding": "x"},
            f"instruction.encoding: Input should be {BYTES} or {TOKENS} (got 'x')",
        ),
        ("instruction", {"encoding": NONE}, "instruction.encoding: Field required"),
        ("instruction", {"padding": 3}, "instruction.padding: Extra inputs are not permitted (got '3')"),
        ("instruction", {"encoding": "tokens, padded"}, "instruction.padding: Field required"),
        ("instruction", "bytes", "instruction: Input should be an object (got 'bytes')"),
        ("golden", {"frames": 0}, "golden.frames: Input should be greater than or equal to 1 (got '0')"),
        (
            "golden",
            {"tolerance_rad": 0.005},
            "golden.tolerance_rad: Input should be less than or equal to 0.0001 (got '0.005')",
        ),
        (
            "golden",
            {"tolerance_rad": 0.5, "precision": "float16"},
            "golden.tolerance_rad: Input should be less than or equal to 0.01 (got '0.5')",
        ),
        (
            "golden",
            {"precision": "int8"},
            "golden.precision: Input should be 'float16' or 'bfloat16' (got 'int8')",
        ),
        ("golden", None, "golden: Input should be an object (got 'None')"),
        ("action", {"rate_hz": -1.0}, "action.rate_hz: Input should be greater than 0 (got '-1.0')"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_told_by_its_own_name_and_limits(section: str, changes: Any, says: str) -> None:
    assert reason(section, changes) == says
