"""Code names: who hides behind them lies in a sealed file, and opening it early shows in the ledger.

The ledger holds the file's SHA-256 from the first moment on, so that the names cannot be dealt anew once
outcomes are known. The file is readable by its owner alone: this keeps names from being seen by accident, not
from somebody who wants to look.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from dygro_ros.errors import DataError

CODE_NAMES = ("amber", "birch", "coral", "delta", "ember", "fjord", "grove", "heron")


class Seal:
    """Which policy each code name stands for."""

    def __init__(self, policies: Mapping[str, str], digest: str) -> None:
        """Know the names; use `make_seal` or `read_seal`."""
        self._policies, self.digest = dict(policies), digest

    @property
    def codes(self) -> tuple[str, ...]:
        """The code names, in alphabetical order."""
        return tuple(sorted(self._policies))

    def policy(self, code: str) -> str:
        """Return the policy that a code name hides: for who runs it, and for `unblind`; nobody prints it."""
        return self._policies[code]


def open_names(policies: Sequence[str]) -> Seal:
    """Return names that hide nothing: each policy goes by its own."""
    return Seal({name: name for name in policies}, "")


def make_seal(path: Path, policies: Sequence[str]) -> Seal:
    """Deal code names at random and write the sealed file, which must not exist.

    Raises:
        DataError: The file exists.
    """
    generator = random.SystemRandom()
    names = generator.sample(policies, len(policies))
    codes = dict(zip(CODE_NAMES, names, strict=False))
    # The nonce keeps somebody from finding the names by trying which file has this digest.
    text = json.dumps({"nonce": secrets.token_hex(32), "codes": codes})
    beside = path.with_name(path.name + ".new")
    # A kill may have left it, and it may be the sealed file itself by another name: never write into it.
    beside.unlink(missing_ok=True)
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)
    except FileExistsError as error:
        raise DataError(f"{path} exists: an evaluation's code names are dealt once") from error
    finally:
        beside.unlink(missing_ok=True)
    return Seal(codes, hashlib.sha256(text.encode()).hexdigest())


def read_seal(path: Path, digest: str) -> Seal:
    """Read the sealed file and hold it against the digest in the ledger.

    Raises:
        DataError: It is missing, or is not the file that was sealed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}; without it nobody knows the names"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise DataError(
            f"{path} is not what was sealed: SHA-256 is {found[:12]}, the ledger has {digest[:12]}"
        )
    return Seal(json.loads(data)["codes"], digest)
