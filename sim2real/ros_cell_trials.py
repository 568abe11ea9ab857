"""The simulated cell behind the running nodes as the robot of an evaluation: it lays its own scenes.

The same nodes, over real DDS and in real time, as on a robot; the task's own success check judges.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from dygro_ros.bundle import read_bundle
from dygro_ros.errors import UserError
from dygro_ros.evaluation.plan import EvaluationPlan, PlannedTrial
from dygro_ros.evaluation.record import NOT_TOLD, Outcome
from dygro_ros.evaluation.session import Phase, Session
from dygro_ros.evaluation.trial_robot import RobotStatus
from dygro_ros.graph import overrides_for, processes
from dygro_ros.layout import ACTION_SIZE
from dygro_ros.nodes.bridge_client import answer_from
from dygro_ros.nodes.managed import LATCHED, NEWEST
from dygro_ros.nodes.participation import participating, spinning
from dygro_ros.nodes.ros_trial_robot import ANSWER_S, HOME_S, RosTrialRobot
from dygro_ros.robot_profile import read_profile
from dygro_ros.start import Graph
from sim2real.cell.work_cell import HOME
from sim2real.cell_trials import scene_seed

AT_HOME = 0.05  # [rad; fraction open]
TICK_S = 0.02
# A trial that has not become ready for so long never will [s].
READY_S = 120.0


class RosCellTrials(RosTrialRobot):
    """Asks the simulated robot, too."""

    def __init__(self, plan: EvaluationPlan) -> None:
        """Listen."""
        # Whatever the scene, it begins with the arms at home.
        super().__init__(read_profile(plan.robot), asks_home=False)
        self._plan = plan
        self._sim_set = self.create_client(SetParameters, "sim_robot/set_parameters")
        self._lays = self.create_client(Trigger, "sim_robot/same_episode")
        self._episode: dict[str, Any] = {}
        self._laid: tuple[str, int] | None = None
        self._joints = np.full(ACTION_SIZE, np.inf)
        self.create_subscription(String, "sim_robot/episode", self._on_episode, LATCHED)
        self.create_subscription(JointState, "dygro/joint_states", self._on_joints, NEWEST)

    def lay(self, trial: PlannedTrial, current: Callable[[], bool]) -> str | None:
        """Lay the scene's objects, and put the arms at home: under a latched stop, for they jump there."""
        self._laid = None
        self.stop_arms("the scene is laid anew")
        self.until("the arms to stop", lambda: self._mode.startswith("stopped"), HOME_S, current)
        seed = scene_seed(self._plan, trial.scene)
        scene = (("task", trial.task), ("seed", seed))
        values = [Parameter(name, value=value).to_parameter_msg() for name, value in scene]
        request = SetParameters.Request(parameters=values)
        answer_from(self._sim_set, request, "sim_robot/set_parameters", ANSWER_S)
        answer = answer_from(self._lays, Trigger.Request(), "sim_robot/same_episode", ANSWER_S)
        if not answer.success:
            raise UserError(f"sim_robot: {answer.message}")
        self._laid = (trial.task, seed)
        home = partial(self._near, HOME)
        self.until("the arms to be home", home, HOME_S, current)
        self.until("a reset", self._has_reset, HOME_S, current)
        return str(answer.message)

    def status(self) -> RobotStatus:
        """Return how robot and episode stand."""
        known = super().status()
        episode = self._episode
        ours = self._laid is not None and (episode.get("task"), episode.get("seed")) == self._laid
        return replace(
            known,
            over=bool(ours and episode.get("over")),
            succeeded=bool(episode.get("success")) if ours else None,
        )

    def _near(self, joints: NDArray[np.float64]) -> bool:
        return bool(np.abs(self._joints - joints).max() < AT_HOME)

    def _has_reset(self) -> bool:
        try:
            self.reset()
        except UserError:
            return self._mode.startswith("holding")
        return True

    def _on_episode(self, message: String) -> None:
        self._episode = json.loads(message.data)

    def _on_joints(self, message: JointState) -> None:
        self._joints = np.array(message.position)


def run_through_the_nodes(session: Session, graph: Graph) -> Iterator[int]:
    """Run every trial that is left, judged by the tasks' own success checks; yield each one's number.

    Args:
        session: The trials.
        graph: Runs the nodes.

    Raises:
        UserError: A trial does not become ready, or a node has ended.
    """
    waits_s = time.monotonic()
    while (view := session.view()).phase is not Phase.FINISHED:
        assert view.trial is not None
        number, attempt = view.trial.number, view.attempt
        if view.phase is Phase.SCENE and view.robot.ready:
            session.start(number, attempt)
        elif view.phase is Phase.SCENE and time.monotonic() - waits_s > READY_S:
            raise UserError(
                f"trial {number} has not become ready within {READY_S:g} s: {view.robot.waits_for}"
            )
        elif view.phase is Phase.JUDGING:
            won = view.robot.succeeded
            outcome = Outcome("success", 100) if won else Outcome("failure", 0, NOT_TOLD)
            session.judge(number, attempt, outcome)
            waits_s = time.monotonic()
            yield number
            continue
        graph.check()
        session.tick()
        time.sleep(TICK_S)


@contextmanager
def cell_nodes(plan: EvaluationPlan, log: Path) -> Iterator[tuple[RosCellTrials, Graph]]:
    """Start the nodes of the plan's simulated robot and yield who asks them, and what runs them.

    Raises:
        UserError: The plan asks for what the simulated robot does not do.
    """
    assert plan.simulation is not None
    if plan.simulation.instructions != "seen":
        raise UserError("simulation.instructions must be seen: the simulated robot tells no others")
    first = next(iter(plan.policies.values()))
    overrides = overrides_for(str(first.bundle), "")
    overrides["sim_robot"] = {
        "randomization": plan.simulation.randomization,
        "image_size": read_bundle(first.bundle).manifest.cameras[0].height,
    }
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output, Graph(processes(plan.robot, overrides), output) as graph, participating():
        robot = RosCellTrials(plan)
        with spinning(robot):
            yield robot, graph
