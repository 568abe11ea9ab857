"""Fields of one HDF5 file, read so that whatever is wrong becomes a sentence with the field and the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import DataError


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading, as long as the block lasts.

    Raises:
        DataError: It is missing, truncated or damaged, which may show only while it is read.
    """
    try:
        with h5py.File(path, "r") as file:
            yield file
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such demonstration file") from error
    except (OSError, RuntimeError, KeyError) as error:  # h5py has all three for a damaged file
        raise DataError(f"{path}: not a whole HDF5 file, it is truncated or damaged ({error})") from error


class Hdf5Fields:
    """Reads fields of an open file; every failure is a DataError that names the field and the file.

    Args:
        file: The file, or the group in it that fields are looked up in.
        path: Where it lies, for messages.
    """

    def __init__(self, file: h5py.Group, path: Path) -> None:
        self.file = file
        self.path = path

    def error(self, field: str, problem: str) -> DataError:
        """Return (not raise) the error for a field."""
        group = self.file.name.strip("/")
        return DataError(f"{self.path}: {group}{'/' if group else ''}{field} {problem}")

    def attribute_error(self, name: str, problem: str) -> DataError:
        """Return (not raise) the error for an attribute of the file or group."""
        group = self.file.name.strip("/")
        return DataError(f"{self.path}: attribute {name}{' of ' if group else ''}{group} {problem}")

    def group(self, field: str) -> Hdf5Fields:
        """Return the fields of a group."""
        node = self.file.get(field)
        if node is None:
            raise self.error(field, "is missing")
        if not isinstance(node, h5py.Group):
            raise self.error(field, "must be a group, found a dataset")
        return Hdf5Fields(node, self.path)

    def text_attribute(self, name: str) -> str | None:
        """Return a text attribute of the file or group, None where there is none."""
        value = self.file.attrs.get(name)
        if isinstance(value, bytes):
            return value.decode("utf-8", errors="replace")
        if value is not None and not isinstance(value, str):
            raise self.attribute_error(name, f"must be text, found {value!r}")
        return value

    def integer_attribute(self, name: str) -> int | None:
        """Return a whole number among the attributes of the file or group, None where there is none."""
        value = self.file.attrs.get(name)
        if value is not None and not isinstance(value, np.integer):
            raise self.attribute_error(name, f"must be a whole number, found {value!r}")
        return None if value is None else int(value)

    def values(self, field: str) -> Any:
        """Return a whole field."""
        node = self.file.get(field)
        if node is None:
            raise self.error(field, "is missing")
        if not isinstance(node, h5py.Dataset):
            raise self.error(field, "must be a dataset, found a group")
        try:
            return node[()]
        except OSError as error:
            raise self.error(field, f"cannot be read, the file is damaged ({error})") from error

    def text(self, field: str) -> str:
        """Return a text field."""
        value = self.values(field)
        if isinstance(value, bytes):
            return value.decode("utf-8", errors="replace")
        raise self.error(field, f"must be text, found {type(value).__name__}")

    def numbers(self, field: str, columns: int | None, rows: int | None) -> NDArray[Any]:
        """Return a (rows, columns) field as it is stored; None accepts any number of them."""
        values = np.asarray(self.values(field))
        if values.dtype.kind not in "fiu":
            raise self.error(field, f"must hold numbers, found type {values.dtype}")
        if values.ndim == 1 and columns == 1:  # grippers: some writers leave the last axis out
            values = values[:, None]
        wanted = ("T" if rows is None else rows, "P" if columns is None else columns)
        if (
            values.ndim != 2
            or values.size == 0
            or values.shape[0] != (rows or values.shape[0])
            or values.shape[1] != (columns or values.shape[1])
        ):
            raise self.error(field, f"must have shape ({wanted[0]}, {wanted[1]}), found {values.shape}")
        if not np.isfinite(values).all():
            raise self.error(field, "holds values that are not finite")
        return values

    def matrix(self, field: str, columns: int | None, rows: int | None) -> NDArray[np.float32]:
        """Return a (rows, columns) field as float32; None accepts any number of them."""
        values = self.numbers(field, columns, rows)
        if np.abs(values).max() > np.finfo(np.float32).max:
            raise self.error(field, f"holds values too large for float32, up to {np.abs(values).max():g}")
        return values.astype(np.float32)
