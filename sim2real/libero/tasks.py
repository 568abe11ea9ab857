"""LIBERO's tasks by name, and which of them the assets at hand suffice for.

A task is (suite, name): the numbers that LIBERO's benchmark classes give them follow neither the scenes nor
the alphabet, so nothing here uses them.
"""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dygro_ros.errors import DependencyError, unknown_name
from sim2real.libero.installation import Installation, mending_command

# Control steps at 20 Hz after which an episode has failed: a little more than the suite's longest
# demonstration took, as OpenVLA, openpi and others set them.
STEP_LIMITS = {
    "libero_spatial": 220,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_90": 400,
    "libero_10": 520,
}
# The floor and the wall of a scene's file give way to a style's textures.
_REPLACED = {("texture", "texplane"), ("texture", "tex-wall")}
EVALUATION_STATES = 50
"""Fixed initial states of each task, which LIBERO ships; only evaluations begin from them."""


@dataclass(frozen=True)
class LiberoTask:
    """One task.

    Attributes:
        suite: "libero_spatial", "libero_object", "libero_goal", "libero_90" or "libero_10".
        name: Such as "KITCHEN_SCENE3_turn_on_the_stove".
        instruction: What the robot is told.
        asset_files: Files below the folder of assets that describe its scene and objects.
        textures: Textures below the folder of assets that it uses beside those.
        goal: Conditions that must all hold, such as ("on", "moka_pot_1", "flat_stove_1_cook_region").
    """

    suite: str
    name: str
    instruction: str
    asset_files: tuple[str, ...]
    textures: tuple[str, ...]
    goal: tuple[tuple[str, ...], ...]

    @property
    def step_limit(self) -> int:
        """Control steps after which an episode has failed."""
        return STEP_LIMITS[self.suite]

    def missing(self, assets: Path) -> list[str]:
        """Return the files it needs that are not in this folder of assets, as paths below it.

        Raises:
            ParseError: A file that describes others is damaged; its `filename` says which it is.
        """
        missing = [name for name in self.textures if not (assets / name).is_file()]
        for name in self.asset_files:
            path = assets / name
            if not path.is_file():
                missing.append(name)
            else:
                missing += [str(Path(name).parent / file) for file in _absent_files(path)]
        return sorted(set(missing))

    def __str__(self) -> str:
        return f"{self.suite}/{self.name}"


def _absent_files(description: Path) -> list[str]:
    """Return the meshes and textures that a description names and that are not there.

    Of several elements of one name robosuite takes the first: the files of the others are never read.

    Raises:
        ParseError: The description is damaged; its `filename` says which it is.
    """
    files: dict[tuple[str, str], str] = {}
    try:
        elements = list(ElementTree.parse(description).iter())
    except ElementTree.ParseError as error:
        error.filename = str(description)
        raise
    for element in elements:
        if element.tag in ("mesh", "texture") and (file := element.get("file")):
            files.setdefault((element.tag, element.get("name", file)), file)
    read = [file for key, file in files.items() if key not in _REPLACED]
    return [os.path.normpath(file) for file in read if not (description.parent / file).is_file()]


class TaskList:
    """All tasks of an installation."""

    def __init__(self, installation: Installation) -> None:
        """Read what is known of the tasks.

        Raises:
            DependencyError: The index of tasks is damaged; the message has the command that mends it.
        """
        self.installation = installation
        try:
            index = json.loads(installation.index.read_text("utf-8"))
            self._tasks = {
                (suite, name): LiberoTask(
                    suite,
                    name,
                    entry["instruction"],
                    tuple(entry["assets"]),
                    tuple(entry["textures"]),
                    tuple(map(tuple, entry["goal"])),
                )
                for suite, entries in index.items()
                for name, entry in entries.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            mend = mending_command(installation.folder)
            raise DependencyError(f"{installation.index} is damaged ({error!r}); run: {mend}") from error

    @property
    def suites(self) -> tuple[str, ...]:
        """Names of the suites."""
        return tuple(dict.fromkeys(suite for suite, _ in self._tasks))

    def of_suite(self, suite: str) -> list[LiberoTask]:
        """Return a suite's tasks, sorted by name.

        Raises:
            UserError: There is no such suite.
        """
        if suite not in self.suites:
            raise unknown_name("LIBERO suite", suite, self.suites)
        return [task for task in self._tasks.values() if task.suite == suite]

    def named(self, name: str) -> LiberoTask:
        """Return a task by "suite/name", or by its name alone: no name is in two suites.

        Raises:
            UserError: There is no such task; the message has the nearest.
        """
        suite, _, task = name.rpartition("/")
        if suite:
            self.of_suite(suite)
        found = [entry for entry in self._tasks.values() if entry.name == task and suite in ("", entry.suite)]
        if not found:
            known = [entry.name for entry in self._tasks.values() if suite in ("", entry.suite)]
            raise unknown_name("LIBERO task", task, known)
        return found[0]

    @cached_property
    def available(self) -> tuple[LiberoTask, ...]:
        """Tasks whose assets are all there, by suite and name.

        Raises:
            DependencyError: A description among the assets is damaged.
        """
        return tuple(task for task in self._tasks.values() if not self._missing(task))

    def _missing(self, task: LiberoTask) -> list[str]:
        try:
            return task.missing(self.installation.assets)
        except ElementTree.ParseError as error:
            raise DependencyError(
                f"{error.filename}: a damaged description of an asset ({error}); link a folder that has it "
                f"whole with: {mending_command(self.installation.folder)} --assets FOLDER"
            ) from error

    def check_assets(self, task: LiberoTask) -> None:
        """Refuse a task whose assets are not all there.

        Raises:
            DependencyError: The message names the missing or damaged files and the command that mends it.
        """
        if missing := self._missing(task):
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise DependencyError(
                f"LIBERO task {task} needs assets that are not in {self.installation.assets}: "
                f"{', '.join(missing[:5])}{more}; link a folder that has them with: "
                f"{mending_command(self.installation.folder)} --assets FOLDER"
            )


def describe(installation: Installation) -> str:
    """Return which tasks an installation can run, one a line."""
    tasks = TaskList(installation)
    lines = [f"LIBERO is installed in {installation.folder}."]
    for suite in tasks.suites:
        of_suite = tasks.of_suite(suite)
        there = [task.name for task in of_suite if task in tasks.available]
        lines.append(f"{suite}: assets for {len(there)} of {len(of_suite)} tasks")
        lines += [f"  {name}" for name in there]
    return "\n".join(lines)
