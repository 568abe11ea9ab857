"""Which build of a library is installed: ONNX Runtime's GPU build is a distribution of another name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

BUILDS: Mapping[str, tuple[str, ...]] = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu")}
"""Distributions that all give the library of this name; of others there is one, of its own name."""


def installed(library: str) -> tuple[str, str]:
    """Return the distribution that gives a library here, and its version.

    Raises:
        importlib.metadata.PackageNotFoundError: None of them is installed.
    """
    for name in BUILDS.get(library, (library,)):
        try:
            return name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    raise metadata.PackageNotFoundError(library)
