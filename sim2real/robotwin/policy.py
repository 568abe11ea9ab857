"""A bundle as a RoboTwin policy: an observation in, the actions to execute out.

The same for both of RoboTwin's interfaces. An action is 14 absolute drive targets (`qpos`); RoboTwin retimes
each one and counts it as a step.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dygro_ros.bundle import read_bundle
from dygro_ros.errors import BundleError, UserError, unknown_name
from dygro_ros.inference import OnnxPolicy, Provider
from dygro_ros.instruction_codec import InstructionCodec
from dygro_ros.layout import ACTION_SIZE
from dygro_ros.manifest import JointSpec
from sim2real.robotwin.observations import CAMERAS, Seen, fit_pictures

Output = Literal["chunk", "base_chunk"]
# Another arm is told by its joints' limits: a Piper's third joint bends to -2.97 rad, that of RoboTwin's
# aloha-agilex to the other side, beyond 3 rad in its data. Published models of a Piper differ by less than
# this: where the simulated robot's limits are narrower than the policy's, and where they are wider.
NARROWER_RAD = 0.35
WIDER_RAD = 1.2
_OTHER_ROBOT = (
    "train on this robot, or let RoboTwin load the policy's (embodiment: [piper, piper, 0.6] in the task "
    "configuration)"
)
_LOG = logging.getLogger(__name__)


class RobotwinPolicy:
    """A policy bundle, warmed up, for RoboTwin's observations and actions."""

    def __init__(
        self,
        bundle: Path,
        *,
        provider: Provider = "cpu",
        threads: int = 1,
        output: Output = "chunk",
        execute: int | None = None,
    ) -> None:
        """Open the bundle.

        Args:
            bundle: Folder of the policy bundle.
            provider: What runs the graph; see `OnnxPolicy`.
            threads: ONNX Runtime's threads inside one operator.
            output: Which chunk is executed: the policy's, or that of its base policy alone.
            execute: Actions of each chunk that are executed before the policy looks again; None for all.

        Raises:
            BundleError: The bundle is damaged, or was trained for another robot or other cameras.
            DependencyError: The provider is not installed.
            UserError: `output` or `execute` is not possible.
        """
        if output not in ("chunk", "base_chunk"):
            raise unknown_name("output", output, ("chunk", "base_chunk"))
        read = read_bundle(bundle)
        self.manifest, self.fingerprint = read.manifest, read.fingerprint
        for camera in self.manifest.cameras:
            if camera.name not in CAMERAS:
                raise BundleError(
                    f"{bundle}: the policy sees camera {camera.name!r}, but RoboTwin has {', '.join(CAMERAS)}"
                )
        action = self.manifest.action
        if action.kind != "absolute_joint_position" or len(self.manifest.joints) != ACTION_SIZE:
            raise BundleError(
                f"{bundle}: RoboTwin takes {ACTION_SIZE} absolute joint positions, but the policy gives "
                f"{len(self.manifest.joints)} of {action.kind}"
            )
        self.execute = action.chunk_length if execute is None else execute
        if not 1 <= self.execute <= action.chunk_length:
            raise UserError(f"execute must be in 1..{action.chunk_length}, the chunk's length, got {execute}")
        self.cameras = tuple(camera.name for camera in self.manifest.cameras)
        self._output = output
        self._policy = OnnxPolicy(read, provider=provider, threads=threads)
        self._shortened: set[str] = set()

    def actions(self, seen: Seen) -> NDArray[np.float32]:
        """Return the actions to execute now, (n, 14): arms [rad], grippers 0 closed .. 1 open.

        Raises:
            UserError: A picture cannot be brought to the policy's.
            BundleError: A joint is where the policy's robot cannot be.
            PolicyOutputError: The policy's answer is not finite.
        """
        for joint, value in zip(self.manifest.joints, seen.joints.tolist(), strict=True):
            if not joint.lower - NARROWER_RAD <= value <= joint.upper + NARROWER_RAD:
                raise BundleError(f"{_range(joint)}, but RoboTwin's is at {value:g}: {_OTHER_ROBOT}")
        images = fit_pictures(seen, self.manifest.cameras)
        answer = self._policy.infer(images, self._fitted(seen.instruction), seen.joints)
        chunk: NDArray[np.float32] = getattr(answer, self._output)
        return chunk[: self.execute]

    def require_arms(self, lower: NDArray[np.float64], upper: NDArray[np.float64], robot: str) -> None:
        """Refuse a simulated robot whose joints are not those that the policy was trained on.

        Args:
            lower: Lower limits of the joints, (14,) [rad; 0 for grippers].
            upper: Upper limits.
            robot: What to call it in the message.

        Raises:
            BundleError: A joint moves in another range; names the first.
        """
        for joint, low, high in zip(self.manifest.joints, lower.tolist(), upper.tolist(), strict=True):
            wider = max(joint.lower - low, high - joint.upper)
            narrower = max(low - joint.lower, joint.upper - high)
            if narrower > NARROWER_RAD or wider > WIDER_RAD:
                raise BundleError(
                    f"{_range(joint)}, but that of {robot} in {low:g} .. {high:g}: {_OTHER_ROBOT}"
                )

    def _fitted(self, instruction: str) -> str:
        """Return the instruction, cut after the last whole word that there is room for; says so once."""
        codec = self._policy.codec
        if codec.size(instruction) <= codec.spec.length:
            return instruction
        short = fit_instruction(instruction, codec)
        if instruction not in self._shortened:
            self._shortened.add(instruction)
            _LOG.warning("the policy reads %s: %r was cut to %r", _room(codec), instruction, short)
        return short


def _range(joint: JointSpec) -> str:
    return f"joint {joint.name} of the policy moves in {joint.lower:g} .. {joint.upper:g}"


def fit_instruction(text: str, codec: InstructionCodec) -> str:
    """Return as many whole words of a text as a policy with this codec has room for.

    Raises:
        UserError: Not even the first word has room.
    """
    words = text.split()
    while codec.size(" ".join(words)) > codec.spec.length:
        words.pop()
    if not words:
        raise UserError(f"the first word of the instruction {text!r} has more than {_room(codec)}")
    return " ".join(words)


def _room(codec: InstructionCodec) -> str:
    unit = "tokens" if codec.spec.encoding.startswith("tokens") else "UTF-8 bytes"
    return f"{codec.spec.length} {unit}"
