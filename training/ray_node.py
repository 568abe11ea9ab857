"""What a node of a cluster is given and what it must have: the frozen base's files, and the same versions.

Nodes share no folder: files travel as bytes, once to each node, and lie there only while they are read. Equal
requests make equal episodes only where equal code runs, so a node with other versions is refused.
"""

from __future__ import annotations

import hashlib
import platform
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dygro_ros.distributions import installed
from dygro_ros.errors import UserError
from dygro_ros.instruction_codec import TOKENIZER_FILE
from sim2real.onnx_graph import EXTERNAL_DATA_SUFFIX
from training.frozen_base import GRAPH_FILE
from training.stage_one import CONFIG_FILE, WEIGHTS_FILE

LIBRARIES = ("numpy", "torch", "onnxruntime", "mujoco")
"""What decides the bits of an episode or of an update, beside our own code."""
PACKAGES = ("dygro_ros", "models", "sim2real", "training")

Answer = tuple[Literal["result", "user error"], Any]
"""What an actor answers: a user's error as its sentence, because Ray would wrap it into a traceback."""


@dataclass(frozen=True)
class BaseFiles:
    """The files of a Stage I folder, as they travel."""

    contents: Mapping[str, NDArray[np.uint8]]
    """Bytes by file name: as arrays, for Ray copies arrays of one node once."""

    @classmethod
    def read(cls, folder: Path, *, graph: bool) -> BaseFiles:
        """Read what `load_base_policy`, and with `graph` also `FrozenBase`, will look for."""
        names = [CONFIG_FILE, WEIGHTS_FILE, *([GRAPH_FILE] if graph else [])]
        # A pretrained policy's tokenizer, and the weights of a graph that is too large for one file.
        further = [TOKENIZER_FILE, *([GRAPH_FILE + EXTERNAL_DATA_SUFFIX] if graph else [])]
        names += [name for name in further if (folder / name).is_file()]
        return cls({name: np.fromfile(folder / name, dtype=np.uint8) for name in names})

    @contextmanager
    def unpacked(self) -> Iterator[Path]:
        """Give a folder of this machine that holds the files and is gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="dygro_base_") as folder:
            for name, content in self.contents.items():
                content.tofile(Path(folder) / name)
            yield Path(folder)


def versions() -> dict[str, str]:
    """Return what two machines must have in common, by name; of our own code a hash."""
    root = Path(__file__).resolve().parents[1]
    code = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            code.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    # Wheels for different accelerators differ after the "+", as in 2.13.0+cpu.
    libraries = {name: installed(name)[1].partition("+")[0] for name in LIBRARIES}
    return {"Python": platform.python_version(), **libraries, "the dygro_ros code": code.hexdigest()[:12]}


def check_versions(expected: Mapping[str, str]) -> None:
    """Refuse to work where the versions are not those of the machine that asks.

    Raises:
        UserError: One differs; names it and this node.
    """
    found = versions()
    for name, wanted in expected.items():
        if found[name] != wanted:
            raise UserError(
                f"node {node_name()} has another version of {name}: {found[name]} there, {wanted} on the "
                "machine of the run; check out the same commit there, then pip install -e '.[train,ray]'"
            )


def node_name() -> str:
    """Return this machine's name, for messages."""
    return socket.gethostname()


def answered(call: Callable[[], Any]) -> Answer:
    """Return what the call returns, or the sentence of its `UserError`."""
    try:
        return "result", call()
    except UserError as error:
        return "user error", str(error)


def result_of(answer: Answer) -> Any:
    """Return an answer's result.

    Raises:
        UserError: The actor raised it.
    """
    kind, value = answer
    if kind == "user error":
        raise UserError(value)
    return value
