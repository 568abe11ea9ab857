"""An append-only file of JSON lines that survives a kill at any moment.

Each record is flushed to the disk before `append` returns. A line that a kill tore off is cut away when the
ledger is next opened: what is not whole was never recorded. Knows nothing of what the records mean.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from dygro_ros.errors import DataError, RunFolderError


class JsonLinesLedger:
    """The ledger's records so far, and the way to add one; one process at a time."""

    def __init__(self, path: Path) -> None:
        """Open or make the ledger.

        Raises:
            DataError: A line before the last is not a JSON object.
            RunFolderError: Another process has the ledger open.
        """
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise RunFolderError(f"{path} is being written by another process") from error
        try:
            self.records: list[dict[str, Any]] = self._read()
        except DataError:
            os.close(self._descriptor)
            raise

    def _read(self) -> list[dict[str, Any]]:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._descriptor, whole)
        records = []
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            try:
                record = json.loads(line)
            except ValueError as error:
                raise DataError(f"{self.path}: line {number} is not JSON: {error}") from error
            if not isinstance(record, dict):
                raise DataError(f"{self.path}: line {number} must be a JSON object, got {line[:60]!r}")
            records.append(record)
        return records

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record and wait until it is on the disk.

        Raises:
            ValueError: A value is NaN or infinite.
            DataError: The disk is full or fails; nothing of the record was kept.
        """
        line = json.dumps(dict(record), allow_nan=False, separators=(",", ":")) + "\n"
        rest, whole = line.encode("utf-8"), os.fstat(self._descriptor).st_size
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            os.fsync(self._descriptor)
        except OSError as error:
            # Half a line in the middle would make the ledger unreadable once there is room again.
            os.ftruncate(self._descriptor, whole)
            raise DataError(
                f"{self.path} cannot be written: {error.strerror}; nothing was recorded"
            ) from error
        self.records.append(json.loads(line))

    def close(self) -> None:
        """Close the file and let another process open it."""
        os.close(self._descriptor)

    def __enter__(self) -> JsonLinesLedger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
