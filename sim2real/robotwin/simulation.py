"""RoboTwin's environments, one episode at a time; runs inside RoboTwin's interpreter.

An episode is (task, seed). RoboTwin counts a seed only if its own expert succeeds on it: `judge` finds that
out, and what the expert did also decides which instructions fit (which arm, which objects).
"""

from __future__ import annotations

import importlib
import os
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np

from dygro_ros.errors import UserError, unknown_name
from dygro_ros.layout import ACTION_SIZE
from sim2real.robotwin.arms import joint_ranges, measured_joints, require_two_arms, target_joints
from sim2real.robotwin.scene_state import privileged_state
from sim2real.robotwin.task_arguments import task_arguments

# Texts of the TypeErrors by which RoboTwin's own tasks give a scene up.
TASK_GAVE_UP = (
    "'NoneType' object is not subscriptable",  # click_alarmclock, where no plan reached a grasp pose
    "exceptions must derive from BaseException",  # place_a2b_*: raise "Actor create limit!"
)


class _GaveUp(Exception):
    """RoboTwin's expert found no way."""


class RobotwinSimulation:
    """The task environments of one checkout under one task configuration."""

    def __init__(self, checkout: Path, configurations: Path, task_config: str, wrist_cameras: bool) -> None:
        """Make RoboTwin importable; it works in the folder of its checkout.

        Args:
            checkout: RoboTwin's checkout.
            configurations: Its folder of task configurations.
            task_config: Which one.
            wrist_cameras: Also render the two wrist cameras.

        Raises:
            UserError: See `task_arguments`.
        """
        os.chdir(checkout)
        sys.path[:0] = [str(checkout), str(checkout / "description" / "utils")]
        self._args = task_arguments(configurations, task_config, wrist_cameras)
        self._robot_name = str(self._args["embodiment"][0])
        self._unstable: type[Exception] = importlib.import_module("envs.utils.create_actor").UnStableError
        self._describe = importlib.import_module(
            "generate_episode_instructions"
        ).generate_episode_descriptions
        self._task = ""
        self._env: Any = None
        self._open = False
        self._episodes = 0

    def judge(self, task: str, seed: int) -> dict[str, Any]:
        """Let RoboTwin's expert try an episode.

        A verdict is kept for ever, so only what RoboTwin itself says of a scene counts. Any other error, such
        as a GPU's or that of another edition of RoboTwin, is raised.

        Returns:
            `solvable`, `reason` (why not, else "") and `info` (what instructions need to know).

        Raises:
            UserError: The robot has other arms.
        """
        try:
            self._set_up(task, seed)
            require_two_arms(self._env.robot, self._robot_name)
            info = self._play()
            solved = bool(self._env.plan_success) and bool(self._env.check_success())
        except self._unstable as error:
            return _unsolvable(f"unstable: {error}")
        except _GaveUp as error:
            return _unsolvable(str(error))
        except TypeError as error:
            if str(error) not in TASK_GAVE_UP:
                raise
            return _unsolvable(f"the task gave up with TypeError: {error}")
        finally:
            self._close_episode()
        if not solved:
            return _unsolvable("the expert did not succeed")
        facts = {str(name): str(value) for name, value in info["info"].items()}
        return {"solvable": True, "reason": "", "info": facts}

    def begin(self, task: str, seed: int, info: dict[str, str], split: str) -> dict[str, Any]:
        """Set up an episode.

        Args:
            task: Task to do.
            seed: Seed on which the expert succeeds.
            info: What `judge` returned for it.
            split: "seen" or "unseen" instructions.

        Returns:
            What `state` returns, `instructions`, `step_limit`, and the joints' limits `lower` and `upper`.

        Raises:
            UserError: The robot has other arms, or RoboTwin has no instruction for the episode.
        """
        self._set_up(task, seed)
        require_two_arms(self._env.robot, self._robot_name)
        lower, upper = joint_ranges(self._env.robot)
        found = self._instructions(task, seed, info, split)
        return {
            **self.state(),
            "instructions": found,
            "step_limit": int(self._env.step_lim),
            "lower": lower,
            "upper": upper,
        }

    def step(self, action: np.ndarray) -> dict[str, Any]:
        """Execute one action, (14,) absolute drive targets, and return what `state` returns.

        Raises:
            UserError: There is no episode, or the action is not 14 finite numbers.
        """
        env = self._episode
        if action.shape != (ACTION_SIZE,) or not np.isfinite(action).all():
            raise UserError(f"an action must be {ACTION_SIZE} finite numbers, got {action.shape} {action}")
        env.take_action(action, action_type="qpos")
        return self.state()

    def state(self) -> dict[str, Any]:
        """Return `targets` and `measured` joints, (14,) each, `privileged`, `steps` and `success`."""
        env = self._episode
        return {
            "targets": target_joints(env.robot),
            "measured": measured_joints(env.robot),
            "privileged": privileged_state(env),
            "steps": int(env.take_action_cnt),
            "success": bool(env.eval_success),
        }

    def pictures(self, cameras: list[str]) -> dict[str, np.ndarray]:
        """Render now and return RGB by camera, (H, W, 3) uint8 each."""
        seen = self._episode.get_obs()["observation"]
        return {name: np.ascontiguousarray(seen[name]["rgb"], dtype=np.uint8) for name in cameras}

    @property
    def _episode(self) -> Any:
        if not self._open:
            raise UserError("there is no RoboTwin episode: call begin first")
        return self._env

    def _set_up(self, task: str, seed: int) -> None:
        self._close_episode()
        if task != self._task:
            self._env, self._task = _environment(task)(), task
        self._open = True
        self._env.setup_demo(now_ep_num=0, seed=seed, is_test=True, task_name=task, **self._args)

    def _play(self) -> Any:
        """Let the expert play, and return what it says of the episode.

        Raises:
            _GaveUp: No pose or no plan was found.
        """
        try:
            return self._env.play_once()
        except AssertionError as error:  # RoboTwin's actions assert that there is a pose to move to
            raise _GaveUp(f"the expert gave up: {error}") from error
        except (LookupError, TypeError, ValueError) as error:
            if self._env.plan_success:
                raise
            # The planner has failed, and the task stumbled over the plan that is not there.
            raise _GaveUp(f"no plan was found, then {type(error).__name__}: {error}") from error

    def _close_episode(self) -> None:
        if self._open:
            self._open = False
            self._episodes += 1
            self._env.close_env(clear_cache=self._episodes % int(self._args["clear_cache_freq"]) == 0)

    def _instructions(self, task: str, seed: int, info: dict[str, str], split: str) -> list[str]:
        # RoboTwin draws the words from a generator that it never seeds.
        random.seed(seed)
        described = self._describe(task, [info], int(self._args["language_num"]))
        found = described[0].get(split, []) if described else []
        if not found:
            raise UserError(f"RoboTwin has no {split!r} instruction for {task}, seed {seed}")
        return sorted(set(found))


def _environment(task: str) -> Any:
    """Return the class of a task."""
    known = sorted(path.stem for path in Path("envs").glob("*.py") if path.stem[0].isalpha())
    if task not in known:
        raise unknown_name("RoboTwin task", task, known)
    return getattr(importlib.import_module(f"envs.{task}"), task)


def _unsolvable(reason: str) -> dict[str, Any]:
    return {"solvable": False, "reason": reason, "info": {}}
