"""Writes down what LIBERO knows of its tasks, so that our side need not ask it; runs in its interpreter.

`tasks.json` holds, by suite and name, the instruction, the files of assets that the task loads and its
goal; `initial_states/` holds the fixed initial states as plain numpy files (LIBERO ships them
pickled).
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from dygro_ros.whole_file import write_text

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_90", "libero_10")
_FAMILIES = {
    "ArticulatedObject": "articulated_objects/{name}.xml",
    "HopeBaseObject": "stable_hope_objects/{name}/{name}.xml",
    "GoogleScannedObject": "stable_scanned_objects/{name}/{name}.xml",
    "TurbosquidObjects": "turbosquid_objects/{name}/{name}.xml",
}
# Scene file, floor and wall of each kind of problem, as in `libero.libero.envs.problems`.
_SCENES = {
    "libero_coffee_table_manipulation": ("coffee_table", "wood-plank", "light-gray-plaster"),
    "libero_floor_manipulation": ("floor", "light-gray", "light-gray-plaster"),
    "libero_kitchen_tabletop_manipulation": ("kitchen_tabletop", "gray-ceramic", "yellow-linen"),
    "libero_living_room_tabletop_manipulation": ("living_room_tabletop", "wood-plank", "light-gray-plaster"),
    "libero_study_tabletop_manipulation": ("study", "light-gray", "light-gray-plaster"),
    "libero_tabletop_manipulation": ("tabletop", "light-gray", "light-gray-plaster"),
}
_IN_SCENE = {
    "kitchen_table",
    "study_table",
    "living_room_table",
    "coffee_table",
    "main_table",
    "table",
    "floor",
}


def object_file(category: str) -> str:
    """Return the path, below the assets, of the file that describes an object of this category."""
    from libero.libero.envs.objects import get_object_fn

    kind = get_object_fn(category)
    name = inspect.signature(kind.__init__).parameters["obj_name"].default
    family = next(parent.__name__ for parent in kind.__mro__ if parent.__name__ in _FAMILIES)
    return _FAMILIES[family].format(name=name)


def task_entry(name: str, problem: dict[str, Any]) -> dict[str, Any]:
    """Return what `tasks.json` says of a task and its parsed problem.

    The instruction is made from the name, as LIBERO's benchmark does; task files sometimes word it otherwise.
    """
    from libero.libero.benchmark import grab_language_from_filename
    from libero.libero.envs.arenas.style import get_texture_filename

    scene, floor, wall = _SCENES[problem["problem_name"]]
    categories = {**problem["fixtures"], **problem["objects"]}
    assets = [object_file(category) for category in categories if category not in _IN_SCENE]
    textures = [get_texture_filename("floor", floor), get_texture_filename("wall", wall)]
    return {
        "instruction": grab_language_from_filename(f"{name}.bddl"),
        "assets": [f"scenes/libero_{scene}_base_style.xml", *sorted(assets)],
        "textures": [f"textures/{name}" for name in textures],
        "goal": problem["goal_state"],
    }


def read_initial_states(path: Path) -> np.ndarray:
    """Return a task's fixed initial states, shape (states, 1 + nq + nv)."""
    import torch

    # All that these files hold beside plain tensors; the name is the one of numpy 1.
    array = (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct")
    with torch.serialization.safe_globals([array, np.ndarray, np.dtype, type(np.dtype("float64"))]):
        states = torch.load(path, weights_only=True)
    return np.asarray(states, dtype=np.float64)


def main() -> None:
    """Write both for every suite into the folder that the command line names."""
    import libero.libero
    from libero.libero.benchmark.libero_suite_task_map import libero_task_map
    from libero.libero.envs.bddl_utils import robosuite_parse_problem

    folder, inner = Path(sys.argv[1]), Path(libero.libero.__file__).parent
    index: dict[str, dict[str, Any]] = {}
    for suite in SUITES:
        index[suite] = {}
        for task in sorted(libero_task_map[suite]):
            problem = robosuite_parse_problem(str(inner / "bddl_files" / suite / f"{task}.bddl"))
            index[suite][task] = task_entry(task, problem)
            target = folder / "initial_states" / suite / f"{task}.npy"
            target.parent.mkdir(parents=True, exist_ok=True)
            beside = target.with_name(f"{task}.tmp.npy")
            source = inner / "init_files" / suite / f"{task}.pruned_init"
            np.save(beside, read_initial_states(source), allow_pickle=False)
            os.replace(beside, target)
    write_text(folder / "tasks.json", json.dumps(index, indent=1))


if __name__ == "__main__":
    main()
