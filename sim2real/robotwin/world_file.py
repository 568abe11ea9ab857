"""A measured RoboTwin world as a JSON file, which `measure_world` writes and training reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from dygro_ros.errors import DataError
from dygro_ros.layout import ACTION_SIZE, JOINT_NAMES
from dygro_ros.manifest import first_reason
from dygro_ros.whole_file import write_text
from sim2real.robotwin.environment import InstructionSplit, Proprio
from sim2real.robotwin.installation import Installation
from sim2real.robotwin.world import RobotwinWorld

COMMAND = "python -m sim2real.robotwin.measure_world"

Name = Annotated[str, StringConstraints(min_length=1)]
Limits = Annotated[
    tuple[Annotated[float, Field(allow_inf_nan=False)], ...],
    Field(min_length=ACTION_SIZE, max_length=ACTION_SIZE),
]


class _Contents(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    version: Literal[1]
    checkout: Path
    python: Path
    tasks: Annotated[tuple[Name, ...], Field(min_length=1)]
    lower: Limits
    upper: Limits
    task_config: Name
    proprio: Proprio
    instruction_split: InstructionSplit
    book: Path | None

    @field_validator("checkout", "python", "book")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        # A run is resumed, and its workers start, in whatever folder.
        if value is not None and not value.is_absolute():
            raise ValueError("must be an absolute path")
        return value

    @field_validator("tasks")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("must name each task once")
        return value

    @model_validator(mode="after")
    def _limits_fit(self) -> _Contents:
        for name, low, high in zip(JOINT_NAMES, self.lower, self.upper, strict=True):
            if not low < high:
                raise ValueError(f"lower must be below upper, got {low:g} and {high:g} for {name}")
        return self


def write_world(world: RobotwinWorld, path: Path) -> None:
    """Write everything that a world is, in place of an older file; its paths become absolute."""
    installation, book = world.installation, world.book
    contents = _Contents(
        version=1,
        checkout=installation.checkout.absolute(),
        # Not resolved: the interpreter of a virtual environment is known by its link.
        python=installation.python.absolute(),
        tasks=world.tasks,
        lower=world.lower,
        upper=world.upper,
        task_config=world.task_config,
        proprio=world.proprio,
        instruction_split=world.instruction_split,
        book=None if book is None else book.absolute(),
    )
    write_text(path, contents.model_dump_json(indent=1) + "\n")


def read_world(path: Path) -> RobotwinWorld:
    """Read a world; whether RoboTwin still lies where the file says is seen when it is opened.

    Raises:
        DataError: The file is missing or damaged, or of another version; the message names file and field.
    """
    try:
        found = _Contents.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}): {COMMAND} makes it") from error
    except ValidationError as error:
        raise DataError(f"{path}: {first_reason(error)}: remove it, then {COMMAND} makes it anew") from error
    return RobotwinWorld(
        Installation(found.checkout, found.python),
        found.tasks,
        found.lower,
        found.upper,
        task_config=found.task_config,
        proprio=found.proprio,
        instruction_split=found.instruction_split,
        book=found.book,
    )
