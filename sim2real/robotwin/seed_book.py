"""Which seeds RoboTwin's expert has been tried on, and what came of it; kept in a JSON file.

A trial of the expert takes tens of seconds, so its outcome is kept: a policy's episode then begins at once.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from dygro_ros.errors import DataError, UserError
from dygro_ros.manifest import first_reason
from dygro_ros.whole_file import write_text


class Verdict(BaseModel):
    """What came of the expert on one seed."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    solvable: bool
    reason: str
    """Why not; empty for a solvable seed."""
    info: dict[str, str]
    """What the expert's episode was about, for its instructions: arm and objects."""

    @model_validator(mode="after")
    def _reason_fits(self) -> Verdict:
        if self.solvable == bool(self.reason):
            raise ValueError("a seed is solvable, or has a reason why it is not")
        return self


class _Contents(BaseModel):
    model_config = ConfigDict(extra="forbid")

    task_config: str
    tasks: dict[str, dict[int, Verdict]]


class UnsolvableSeed(UserError):
    """RoboTwin's expert does not succeed on this seed, so that no policy is asked to."""


class SeedBook:
    """Verdicts by task and seed, all under one task configuration."""

    def __init__(self, task_config: str) -> None:
        """Begin an empty book."""
        self._contents = _Contents(task_config=task_config, tasks={})

    @classmethod
    def read(cls, path: Path, task_config: str) -> SeedBook:
        """Read a book.

        Raises:
            DataError: The file is missing or damaged, or was made under another task configuration.
        """
        try:
            contents = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"{path}: cannot be read ({error}): python -m sim2real.robotwin.find_seeds makes it"
            ) from error
        return cls.from_json(contents, task_config, str(path))

    @classmethod
    def from_json(cls, contents: str | bytes, task_config: str, where: str) -> SeedBook:
        """Return the book that `to_json` returned, or a file holds.

        Args:
            contents: The JSON text.
            task_config: Under which the seeds must have been tried.
            where: What messages call the text.

        Raises:
            DataError: The text is damaged, or was made under another task configuration.
        """
        book = cls(task_config)
        try:
            book._contents = _Contents.model_validate_json(contents)
        except ValidationError as error:
            raise DataError(f"{where}: {first_reason(error)}") from error
        found = book._contents.task_config
        if found != task_config:
            raise DataError(
                f"{where}: task_config must be {task_config!r}, found {found!r}: seeds differ between them"
            )
        return book

    def to_json(self) -> str:
        """Return the whole book as text."""
        return self._contents.model_dump_json(indent=1) + "\n"

    def write(self, path: Path) -> None:
        """Write the book, in place of an older one."""
        write_text(path, self.to_json())

    def verdict(self, task: str, seed: int) -> Verdict | None:
        """Return what is known of a seed, None for nothing."""
        return self._contents.tasks.get(task, {}).get(seed)

    def record(self, task: str, seed: int, verdict: Verdict) -> None:
        """Keep what came of the expert on a seed."""
        self._contents.tasks.setdefault(task, {})[seed] = verdict

    def solvable(self, task: str, seeds: range) -> list[int]:
        """Return the seeds of a range on which the expert is known to succeed."""
        verdicts = self._contents.tasks.get(task, {})
        return [seed for seed in seeds if seed in verdicts and verdicts[seed].solvable]

    def passed_over(self, task: str, seeds: range) -> dict[int, str]:
        """Return the seeds of a range on which the expert is known to fail, with the reasons."""
        verdicts = self._contents.tasks.get(task, {})
        return {
            seed: verdicts[seed].reason for seed in seeds if seed in verdicts and not verdicts[seed].solvable
        }
