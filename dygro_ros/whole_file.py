"""Files that are there whole or not at all: written beside, then renamed into place."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_text(path: Path, content: str) -> None:
    """Write a text file, in place of an older one."""
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(content, encoding="utf-8")
    os.replace(beside, path)


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON; NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")
