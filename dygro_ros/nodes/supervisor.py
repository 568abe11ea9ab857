"""The supervisor: brings the nodes up in order, watches their signs of life, and takes them down together.

It commands nothing and protects nobody: the arm bridge watches for itself, in its own process. The supervisor
says what died and why a node would not start, and ends; what started it ends the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from std_msgs.msg import String

from dygro_ros.errors import USER_ERROR_EXIT_CODE, UserError, run_main
from dygro_ros.graph import SUPERVISOR
from dygro_ros.nodes.managed import ALIVE_TOPICS, HEARTBEATS, ended_by_signal
from dygro_ros.nodes.participation import participating
from dygro_ros.nodes.topic_check import TopicCheck
from dygro_ros.sole_process import sole_process
from dygro_ros.watchdog import AgeLimits, Level, Watchdog

# A node's program may take this long to appear, and a transition, which may build an engine, to finish [s].
APPEARS_S = 30.0
TRANSITION_S = 600.0
# Fast DDS may lose the answer to a first request, sent before both have met: look after this long [s].
ANSWERS_S = 5.0
ALIVE = AgeLimits(0.1, 0.3, 0.5)
STOOD_STILL_S = 0.25
REASON_S = 1.5
# Time between looks at one topic each [s].
TOPIC_PERIOD_S = 0.2
DIED_EXIT_CODE = 1
GOALS = {State.PRIMARY_STATE_INACTIVE: "configured or inactive", State.PRIMARY_STATE_ACTIVE: "active"}


class Ended(Exception):
    """The supervisor was told to end."""


class Supervisor(Node):
    """Life cycles of the nodes in parameter `nodes`, in their order."""

    def __init__(self, ended: Callable[[], bool]) -> None:
        """Read the names and listen.

        Args:
            ended: Whether it was told to end.
        """
        super().__init__("supervisor")
        self._ended = ended
        self.names = list(self.declare_parameter("nodes", [""]).value or [])
        if not any(self.names):
            raise UserError("supervisor: parameter nodes must name the nodes to bring up")
        self._reasons: dict[str, str] = {}
        self._up: list[str] = []
        self._heard_s: dict[str, float] = {}
        self._taking_down = False
        self._watchdog: Watchdog | None = None
        self._topics = TopicCheck(self, self.names)
        self.create_timer(TOPIC_PERIOD_S, self._look_at_a_topic)
        self._changes = {name: self.create_client(ChangeState, f"{name}/change_state") for name in self.names}
        self._states = {name: self.create_client(GetState, f"{name}/get_state") for name in self.names}
        for name in self.names:
            self.create_subscription(String, ALIVE_TOPICS + name, self._on_alive, HEARTBEATS)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def bring_up(self) -> None:
        """Configure all, then activate all.

        Raises:
            UserError: A node does not appear or refuses; says which and why.
            Ended: Told to end.
        """
        for name in self.names:
            until_s = time.monotonic() + APPEARS_S
            # Its signs of life may be found later than its services, and none can be missed before the first.
            while not (self._changes[name].service_is_ready() and name in self._heard_s):
                if time.monotonic() > until_s:
                    raise UserError(f"{name} has not appeared within {APPEARS_S:g} s")
                self._spin_once()
            self._change(name, Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE)
        for name in self.names:
            self._change(name, Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE)
            self._up.append(name)
            self.get_logger().info(f"{name} is active")
        self._watchdog = self._new_watchdog()

    def watch(self) -> str:
        """Return the name of the first node that dies.

        Raises:
            Ended: Told to end.
        """
        looked_s = time.monotonic()
        while True:
            self._spin_once()
            now_s = time.monotonic()
            if now_s - looked_s > STOOD_STILL_S:
                # Whoever stood still, as on a machine that was suspended, cannot say that others were silent.
                self._watchdog = self._new_watchdog()
            looked_s = now_s
            assert self._watchdog is not None
            late = self._watchdog.latest(now_s)
            if late.level is Level.FAULT:
                return late.source

    def take_down(self, dead: str = "") -> None:
        """Deactivate what is active, the last one first; who has died besides is named and not waited for."""
        self._taking_down = True
        while self._up:
            name = self._up.pop()
            if name != dead:
                try:
                    self._change(name, Transition.TRANSITION_DEACTIVATE, State.PRIMARY_STATE_INACTIVE)
                except UserError as error:
                    self.get_logger().error(str(error))

    def _change(self, name: str, transition: int, goal: int) -> None:
        request = ChangeState.Request(transition=Transition(id=transition))
        until_s = time.monotonic() + TRANSITION_S
        answer = None
        while time.monotonic() < until_s:
            answer = self._ask(self._changes[name], request)
            if answer is not None and answer.success:
                return
            if answer is None and self._is_gone(name):
                raise UserError(f"{name} has died, too: no sign of life for {ANSWERS_S:g} s")
            # A node answers nothing else during a transition, so what it says now is where that one ended.
            state = self._ask(self._states[name], GetState.Request())
            while state is None and time.monotonic() < until_s and not self._is_gone(name):
                state = self._ask(self._states[name], GetState.Request())
            if state is not None and state.current_state.id == goal:
                return
            if answer is not None:
                break
        raise UserError(f"{name} cannot become {GOALS[goal]}: {self._reason(name, answer is not None)}")

    def _is_gone(self, name: str) -> bool:
        """Whether nothing is to be waited for; while nodes come up they may be silent, as one that builds."""
        return self._taking_down and time.monotonic() - self._heard_s[name] > ANSWERS_S

    def _ask(self, client: Any, request: Any) -> Any:
        future = client.call_async(request)
        until_s = time.monotonic() + ANSWERS_S
        while not future.done():
            if time.monotonic() > until_s:
                client.remove_pending_request(future)
                return None
            self._spin_once()
        return future.result()

    def _reason(self, name: str, answered: bool) -> str:
        until_s = time.monotonic() + REASON_S
        while name not in self._reasons and time.monotonic() < until_s:
            self._spin_once()
        return self._reasons.get(name, "see its log" if answered else "it did not answer")

    def _new_watchdog(self) -> Watchdog:
        return Watchdog(dict.fromkeys(self.names, ALIVE), time.monotonic())

    def _spin_once(self) -> None:
        if self._ended():
            raise Ended
        rclpy.spin_once(self, timeout_sec=0.05)

    def _look_at_a_topic(self) -> None:
        for sentence in self._topics.look():
            self.get_logger().warning(sentence)

    def _on_alive(self, message: String) -> None:
        if message.data not in self.names:
            return
        self._heard_s[message.data] = time.monotonic()
        if self._watchdog is not None:
            self._watchdog.heard(message.data, time.monotonic())

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name in self.names and status.level == DiagnosticStatus.ERROR:
                self._reasons[status.name] = status.message


def supervise() -> int:
    """Bring up, watch, take down; return the exit code.

    Raises:
        UserError: Another supervisor runs already: its robot's nodes are not to be touched.
    """
    ended = ended_by_signal()
    code = 0
    with sole_process(SUPERVISOR), participating():
        node = Supervisor(ended)
        try:
            try:
                node.bring_up()
                dead = node.watch()
                code = DIED_EXIT_CODE
                node.get_logger().fatal(
                    f"{dead} has died: no sign of life for {ALIVE.fault_s:g} s; all are taken down"
                )
                node.take_down(dead)
            except UserError as error:
                code = USER_ERROR_EXIT_CODE
                node.get_logger().fatal(str(error))
                node.take_down()
        except (Ended, ExternalShutdownException):
            pass  # what came before decides the code
        finally:
            node.destroy_node()
    return code


def main() -> None:
    """Run the supervisor."""
    run_main(supervise)


if __name__ == "__main__":
    main()
