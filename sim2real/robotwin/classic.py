"""RoboTwin's classic interface: the four functions that its `script/eval_policy.py` calls.

Runs inside RoboTwin's interpreter, by way of `policy_folder`. RoboTwin (its branch `stable_2.0`) finds the
seeds on which its expert succeeds, sets the scene, and calls `eval` until the task has succeeded or its steps
are used up.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import UserError, unknown_name
from sim2real.robotwin.arms import joint_ranges, measured_joints, require_two_arms
from sim2real.robotwin.observations import Seen, from_task_env
from sim2real.robotwin.policy import RobotwinPolicy

Proprio = Literal["targets", "measured"]
SOURCES = ("targets", "measured")
# What RoboTwin writes into every configuration; the rest of deploy_policy.yml is ours.
_ROBOTWIN_KEYS = {
    "policy_name",
    "task_name",
    "task_config",
    "ckpt_setting",
    "seed",
    "instruction_type",
    "left_arm_dim",
    "right_arm_dim",
}
_OUR_KEYS = {"bundle", "provider", "threads", "output", "execute", "proprio"}


class ClassicModel:
    """What RoboTwin hands from one of its calls to the next."""

    def __init__(self, policy: RobotwinPolicy, proprio: Proprio) -> None:
        """Keep the policy.

        Args:
            policy: Warmed up.
            proprio: Whether the policy is given drive targets or measured joints.
        """
        self.policy = policy
        self.proprio = proprio
        self._arms_checked = False

    def actions(self, task_env: Any, seen: Seen) -> NDArray[np.float32]:
        """Return the actions to execute now, (n, 14).

        Raises:
            UserError: The simulated robot is not the policy's, or the observation does not fit.
        """
        if not self._arms_checked:
            require_two_arms(task_env.robot, "RoboTwin's robot")
            self.policy.require_arms(*joint_ranges(task_env.robot), "RoboTwin's robot")
            self._arms_checked = True
        if self.proprio == "measured":
            seen = Seen(seen.pictures, measured_joints(task_env.robot), seen.instruction)
        return self.policy.actions(seen)

    def reset(self) -> None:
        """Begin another episode; the task's configuration may have brought another robot."""
        self._arms_checked = False


def get_model(usr_args: Mapping[str, Any]) -> ClassicModel:
    """Open the bundle that deploy_policy.yml or the command line names.

    Args:
        usr_args: RoboTwin's own entries, and ours, which deploy_policy.yml explains.

    Raises:
        UserError: An entry is missing, unknown or not possible.
        DependencyError: The provider is not installed.
        BundleError: The bundle does not fit.
    """
    unknown = sorted(set(usr_args) - _ROBOTWIN_KEYS - _OUR_KEYS)
    if unknown:
        raise unknown_name("entry", unknown[0], sorted(_OUR_KEYS), "deploy_policy.yml")
    bundle = usr_args.get("bundle")
    if not isinstance(bundle, str):
        raise UserError(
            f"deploy_policy.yml: bundle must be the folder of a policy bundle, got {bundle!r}: "
            "bash eval.sh TASK TASK_CONFIG BUNDLE SEED GPU"
        )
    proprio = usr_args.get("proprio", "targets")
    if proprio not in SOURCES:
        raise unknown_name("proprio", str(proprio), SOURCES, "deploy_policy.yml")
    policy = RobotwinPolicy(
        Path(bundle).expanduser(),
        provider=usr_args.get("provider", "cpu"),
        threads=usr_args.get("threads", 1),
        output=usr_args.get("output", "chunk"),
        execute=usr_args.get("execute"),
    )
    return ClassicModel(policy, proprio)


def encode_obs(observation: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the observation as it stands: what the policy needs of it is cut out where it is known."""
    return observation


def eval(TASK_ENV: Any, model: ClassicModel, observation: Mapping[str, Any]) -> None:
    """Look once, and execute one chunk; RoboTwin calls again until the episode ends.

    Args:
        TASK_ENV: RoboTwin's environment of the task.
        model: What `get_model` returned.
        observation: What `TASK_ENV.get_obs()` has just returned.

    Raises:
        UserError: The observation or the robot is not one that the policy was trained on.
    """
    seen = from_task_env(encode_obs(observation), TASK_ENV.get_instruction(), model.policy.cameras)
    for action in model.actions(TASK_ENV, seen):
        TASK_ENV.take_action(action, action_type="qpos")
        if TASK_ENV.eval_success or TASK_ENV.take_action_cnt >= TASK_ENV.step_lim:
            return


def reset_model(model: ClassicModel) -> None:
    """Begin another episode."""
    model.reset()
