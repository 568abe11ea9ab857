"""What a file of LIBERO's demonstrations says of the environment that they were made in.

LIBERO's tools build that environment again from `env_args`, as `scripts/create_dataset.py` writes them. Paths
are below LIBERO's `benchmark_root`, where every installation has its tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim2real.libero.interface import CAMERAS
from sim2real.libero.tasks import LiberoTask


@dataclass(frozen=True)
class LiberoAttributes:
    """The further arguments of `LiberoFileWriter`; see there."""

    attributes: dict[str, str]
    problem: dict[str, str]
    environment: dict[str, Any]


def attributes_of(
    task: LiberoTask, task_file: Path, origin: Mapping[str, Any], image_size: int
) -> LiberoAttributes:
    """Return a task's attributes.

    Args:
        task: The task.
        task_file: Its description (.bddl).
        origin: What the simulation says of itself; see `LiberoEnvironment.origin`.
        image_size: Height and width of the pictures [px].
    """
    relative = f"bddl_files/{task.suite}/{task.name}.bddl"
    arguments = {
        "bddl_file_name": relative,
        "robots": ["Panda"],
        "controller_configs": origin["controller_configs"],
        "gripper_types": "default",
        "initialization_noise": None,
        "use_camera_obs": True,
        "has_renderer": False,
        "has_offscreen_renderer": True,
        "camera_names": list(CAMERAS),
        "camera_heights": image_size,
        "camera_widths": image_size,
        "camera_depths": False,
        "camera_segmentations": None,
        "ignore_done": True,
        "reward_shaping": True,
    }
    names = {name: str(origin[name]) for name in ("problem_name", "domain_name", "env_name")}
    return LiberoAttributes(
        attributes={
            "env_name": names["env_name"],
            "bddl_file_name": relative,
            "bddl_file_content": task_file.read_text("utf-8"),
        },
        problem={name: names[name] for name in ("problem_name", "domain_name")},
        environment={
            "type": 1,
            "env_name": names["env_name"],
            "problem_name": names["problem_name"],
            "bddl_file": relative,
            "env_kwargs": arguments,
        },
    )
