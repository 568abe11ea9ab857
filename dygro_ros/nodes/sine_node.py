"""Stands in for the policy node while the loop's delay is measured: one joint swings in a small sine.

What it sends are chunks, as the policy's are: the arm bridge holds them against every limit and watchdog.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from dygro_ros.errors import UserError, run_main
from dygro_ros.graph import POLICY
from dygro_ros.layout import JOINT_NAMES
from dygro_ros.manifest import Positive
from dygro_ros.nodes.managed import LATCHED, NEWEST, RELIABLE, ManagedNode, spin
from dygro_ros.nodes.messages import chunk_message, to_ns
from dygro_ros.robot_profile import PolicyParameters

CHUNK_LENGTH = 10
# The swing grows to its full size in this time [s].
GROWS_S = 1.0


class SineParameters(PolicyParameters):
    """The policy node's parameters, of which the image topics count, and the sine's."""

    joint: str
    amplitude_rad: Annotated[float, Field(gt=0, le=0.3)]
    period_s: Annotated[float, Field(ge=1, le=10)]
    action_rate_hz: Positive


class SineNode(ManagedNode):
    """Swings one joint about where the arms were when they began to run."""

    def __init__(self) -> None:
        """Declare the parameters."""
        super().__init__("policy_node", SineParameters)
        self._chunk = self.create_publisher(JointTrajectory, "dygro/chunk", RELIABLE)
        self._centre: NDArray[np.float64] | None = None
        self._begun_ns = 0
        self._images: Subscription | None = None
        self._runs = False
        self.create_subscription(String, "dygro/mode", self._on_mode, LATCHED)
        self.create_subscription(JointState, "dygro/joint_commands", self._on_commands, NEWEST)

    def prepare(self, parameters: SineParameters) -> None:
        """Listen to the first camera; its pictures' stamps are the chunks'."""
        if parameters.joint not in JOINT_NAMES:
            raise UserError(f"unknown joint {parameters.joint!r}: expected one of {', '.join(JOINT_NAMES)}")
        self._sine = parameters
        self._images = self.create_subscription(Image, parameters.image_topics[0], self._on_image, NEWEST)

    def release(self) -> None:
        """Listen no more."""
        if self._images is not None:
            self.destroy_subscription(self._images)
            self._images = None

    def _on_mode(self, message: String) -> None:
        self._runs = message.data.startswith("running")
        if not self._runs:
            self._centre = None

    def _on_commands(self, message: JointState) -> None:
        if self._runs and self._centre is None:
            self._centre = np.array(message.position)
            self._begun_ns = to_ns(message.header.stamp)

    def _on_image(self, message: Image) -> None:
        if not self.active or self._centre is None:
            return
        stamp_ns = to_ns(message.header.stamp)
        period_s = 1 / self._sine.action_rate_hz
        since_s = 1e-9 * (stamp_ns - self._begun_ns) + period_s * np.arange(CHUNK_LENGTH)
        size = self._sine.amplitude_rad * np.clip(since_s / GROWS_S, 0.0, 1.0)
        chunk = np.tile(self._centre, (CHUNK_LENGTH, 1))
        swing = size * np.sin(2 * np.pi * since_s / self._sine.period_s)
        chunk[:, JOINT_NAMES.index(self._sine.joint)] += swing
        self._chunk.publish(chunk_message(chunk, chunk, JOINT_NAMES, stamp_ns, period_s))


def main() -> None:
    """Run the sine node."""
    run_main(lambda: spin(POLICY, SineNode))


if __name__ == "__main__":
    main()
