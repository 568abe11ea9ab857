"""An operator of the simulated robot: lays the objects, says what to do, runs the policy, and looks on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import rclpy
from numpy.typing import NDArray
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from dygro_ros.errors import UserError
from dygro_ros.layout import ACTION_SIZE
from dygro_ros.nodes.bridge_client import ANSWER_S, BridgeClient
from dygro_ros.nodes.managed import LATCHED, NEWEST
from dygro_ros.nodes.messages import picture_of, to_ns
from dygro_ros.start import Graph
from sim2real.cell.work_cell import HOME

START_S, EPISODE_S = 60.0, 30.0
FILM_PERIOD_S = 0.2
AT_HOME = 0.05  # [rad; fraction open]


@dataclass(frozen=True)
class WatchedEpisode:
    """What an operator saw of one episode."""

    success: bool
    elapsed_s: float
    instruction: str
    frames: list[NDArray[np.uint8]]
    """Pictures of the head camera, (H, W, 3), one each `FILM_PERIOD_S`."""


class SimOperator(BridgeClient):
    """Asks the arm bridge and the simulated robot what an operator would ask."""

    def __init__(self, graph: Graph) -> None:
        """Listen; `wait_until_ready` waits for the nodes, which `graph` runs."""
        bridge = ("arm_bridge/stop", "arm_bridge/reset", "arm_bridge/run")
        super().__init__("sim_operator", (*bridge, "sim_robot/same_episode"))
        self._graph = graph
        self._set = self.create_client(SetParameters, "sim_robot/set_parameters")
        self._instruct = self.create_publisher(String, "dygro/instruction", LATCHED)
        self._episode: dict[str, Any] = {}
        self._joints = np.full(ACTION_SIZE, np.inf)
        self._film: list[tuple[int, NDArray[np.uint8]]] = []
        self.create_subscription(String, "sim_robot/episode", self._on_episode, LATCHED)
        self.create_subscription(JointState, "dygro/joint_states", self._on_joints, NEWEST)
        self.create_subscription(Image, "/head_camera/color/image_raw", self._on_picture, NEWEST)

    def wait_until_ready(self) -> None:
        """Wait until the arms hold.

        Raises:
            UserError: They do not within a minute, or a node has ended.
        """
        self._until("the arms", lambda: self.mode.startswith("holding"), START_S)

    def run_episode(self, task: str, seed: int) -> WatchedEpisode:
        """Lay the objects, run the policy, and return what became of it.

        Raises:
            UserError: A node does not answer, or the episode does not end.
        """
        self.ask("arm_bridge/stop")
        self._until("the arms to stop", lambda: self.mode.startswith("stopped"))
        self._set_episode(task, seed)
        instruction = self.ask("sim_robot/same_episode")[1]
        self._instruct.publish(String(data=instruction))
        # The arms have jumped home, as no real ones do: a reset before that is heard ends in a fault.
        self._until("the arms to be home", lambda: np.abs(self._joints - HOME).max() < AT_HOME)
        self._until("the arms to be ready", lambda: self.ask("arm_bridge/reset")[0])
        self._film = []
        self._until("a run", lambda: self.ask("arm_bridge/run")[0])
        self._until(
            "the episode to end",
            lambda: (
                self._episode.get("over") and (self._episode["task"], self._episode["seed"]) == (task, seed)
            ),
            EPISODE_S,
        )
        frames = [picture for _, picture in self._film]
        return WatchedEpisode(
            bool(self._episode["success"]), float(self._episode["elapsed_s"]), instruction, frames
        )

    def _set_episode(self, task: str, seed: int) -> None:
        values = [Parameter(n, value=v).to_parameter_msg() for n, v in (("task", task), ("seed", seed))]
        self.answer("sim_robot/set_parameters", self._set, SetParameters.Request(parameters=values))

    def _until(self, what: str, true: Callable[[], object], timeout_s: float = ANSWER_S) -> None:
        ends_s = time.monotonic() + timeout_s
        while not true():
            self._graph.check()
            if time.monotonic() > ends_s:
                raise UserError(
                    f"waited {timeout_s:g} s for {what}; the arms say {self.mode or 'nothing'!r}, "
                    f"the episode is {self._episode or 'unknown'}"
                )
            rclpy.spin_once(self, timeout_sec=0.02)

    def _on_episode(self, message: String) -> None:
        self._episode = json.loads(message.data)

    def _on_joints(self, message: JointState) -> None:
        self._joints = np.array(message.position)

    def _on_picture(self, message: Image) -> None:
        stamp_ns = to_ns(message.header.stamp)
        if not self._film or stamp_ns - self._film[-1][0] >= 1e9 * FILM_PERIOD_S:
            self._film.append((stamp_ns, picture_of(message).copy()))
