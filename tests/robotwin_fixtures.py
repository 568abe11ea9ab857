"""RoboTwin without SAPIEN: the stand-in checkout, an environment of it in this process, observations."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sim2real.robotwin.installation import Installation
from sim2real.robotwin.versions import SIMULATOR

STAND_IN = Path(__file__).resolve().parent / "robotwin_stand_in"
SEED = 100_000


def _forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "envs"]:
        del sys.modules[name]


@contextmanager
def task_env(embodiment: str = "piper", seed: int = SEED) -> Iterator[Any]:
    """Return the stand-in's hammer task, set up as RoboTwin's evaluation does."""
    sys.path.insert(0, str(STAND_IN))
    _forget()
    try:
        env = importlib.import_module("envs.beat_block_hammer").beat_block_hammer()
        config = yaml.safe_load((STAND_IN / f"assets/embodiments/{embodiment}/config.yml").read_text("utf-8"))
        args = yaml.safe_load((STAND_IN / "env_cfg/task_config/demo_clean.yml").read_text("utf-8"))
        args |= {"left_embodiment_config": config, "right_embodiment_config": config}
        env.setup_demo(seed=seed, task_name="beat_block_hammer", eval_mode=True, is_test=True, **args)
        env.set_instruction(instruction="hit the block")
        yield env
    finally:
        sys.path.remove(str(STAND_IN))
        _forget()


def joints() -> np.ndarray[Any, Any]:
    """Return 14 different joint values, the grippers within 0 .. 1."""
    values = np.array([0.1, 0.2, -0.3, 0.4, -0.5, 0.6, 0.25, -0.1, 0.3, -0.2, 0.5, -0.4, 0.7, 0.75])
    return values.astype(np.float32)


def client_observation(instruction: str = "hit the block") -> dict[str, Any]:
    """Return an observation as RoboTwin's evaluation client makes it (XPolicyLab's format v1.0)."""
    values = joints()
    cameras = {}
    for name, red in (("cam_head", 200), ("cam_left_wrist", 150), ("cam_right_wrist", 90)):
        colour = np.zeros((240, 320, 3), np.uint8)
        colour[:, :, 2] = 255
        colour[:, 40:280] = (red, 100, 10)
        cameras[name] = {
            "color": colour,
            "shape": colour.shape[:2],
            "depth": np.ones((240, 320), np.float64),
            "intrinsic_matrix": np.eye(3, dtype=np.float32),
        }
    return {
        "data_format_version": "v1.0",
        "instruction": instruction,
        "instructions": [instruction],
        "env_idx": 0,
        "vision": cameras,
        "state": {
            "left_arm_joint_state": values[:6],
            "left_ee_joint_state": values[6:7],
            "right_arm_joint_state": values[7:13],
            "right_ee_joint_state": values[13:],
            "left_ee_pose": np.zeros(7, np.float32),
            "right_ee_pose": np.zeros(7, np.float32),
        },
        "additional_info": {"frequency": 30},
    }


def make_installation(folder: Path, **versions: str) -> Installation:
    """Return the stand-in as an installed RoboTwin, whose interpreter seems to have these versions."""
    packages = folder / "packages"
    for name, version in {**SIMULATOR, "nvidia-curobo": "0.7.8", **versions}.items():
        described = packages / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
        described.parent.mkdir(parents=True)
        described.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    python = folder / "python"
    command = f'PYTHONPATH="$PYTHONPATH:{packages}" PYTHONDONTWRITEBYTECODE=1 exec "{sys.executable}" "$@"'
    python.write_text(f"#!/bin/sh\n{command}\n", encoding="utf-8")
    python.chmod(0o755)
    return Installation(STAND_IN, python)
