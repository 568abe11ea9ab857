"""Dataclasses from JSON that was written from them: a value of another type is named, not met later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from dygro_ros.manifest import first_reason

T = TypeVar("T")


def dataclass_of(kind: type[T], values: Mapping[str, Any]) -> T:
    """Return a dataclass with these values; those it lacks have their defaults.

    Args:
        kind: A dataclass.
        values: Name -> JSON value, as `dataclasses.asdict` and `json` give them.

    Raises:
        ValueError: A key is missing or unknown, a value is of another type, or the class refuses it; names
            the key.
    """
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := [name for name in values if name not in known]:
        raise ValueError(f"expected no key {unknown[0]!r}")
    try:
        return TypeAdapter(kind).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        refused = first["type"] == "value_error"  # by the class itself, in its own words
        raise ValueError(str(first["ctx"]["error"]) if refused else first_reason(error)) from error
