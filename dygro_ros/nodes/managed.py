"""What all our nodes share: a life cycle that says why it refuses, a heartbeat, diagnostics.

rclpy turns an exception inside a transition into an error state without a word; here it is logged. A node
that cannot do its work (a damaged bundle, a missing camera) is configured all the same, says so, and refuses
to become active until it is configured anew.
"""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from pydantic import BaseModel
from rclpy._rclpy_pybind11 import RCLError
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from std_msgs.msg import String

from dygro_ros.errors import UserError
from dygro_ros.nodes.messages import diagnostics
from dygro_ros.nodes.parameters import declare, read
from dygro_ros.nodes.participation import participating
from dygro_ros.sole_process import sole_process
from dygro_ros.start import STARTER

# Each node has a topic of its own: who needs to hear one is not woken by all.
ALIVE_TOPICS = "dygro/alive/"
ALIVE_PERIOD_S = 0.02
DIAGNOSTICS_PERIOD_S = 0.5
BEATS_A_DIAGNOSIS = round(DIAGNOSTICS_PERIOD_S / ALIVE_PERIOD_S)

UNFIT_TRANSITION = "Transition is not registered"

OK, WARN, ERROR = (
    int.from_bytes(level, "little")
    for level in (DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR)
)

NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
# Each event is one more entity that rclpy's executor looks at whenever it wakes (nodes/topic_check.py).
NO_PUBLISHER_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)
NO_SUBSCRIPTION_EVENTS = SubscriptionEventCallbacks(use_default_callbacks=False)

# Several cameras' pictures of one moment come at once, and none of them may be lost.
OBSERVATIONS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
HEARTBEATS = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


class ManagedNode(LifecycleNode):
    """A node with a section of the robot profile as its parameters.

    A node of ours defines `prepare`, `begin`, `end` and `release`, which may raise UserError, and `status`.
    """

    def __init__(self, name: str, section: type[BaseModel], changeable: tuple[str, ...] = ()) -> None:
        """Declare the parameters; nothing else happens before `configure`."""
        super().__init__(name)
        self._section = section
        self.active = False
        self.refusal = ""
        """Why the node cannot become active; empty where it can."""
        declare(self, section, changeable)
        self._alive = self.create_publisher(String, ALIVE_TOPICS + name, HEARTBEATS)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(ALIVE_PERIOD_S, lambda: self._alive.publish(String(data=name)))
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics)

    def create_publisher(self, *args: Any, **kwargs: Any) -> Publisher:
        """Make a publisher as rclpy does, without its events: the supervisor's `TopicCheck` sees as much."""
        return super().create_publisher(*args, **{"event_callbacks": NO_PUBLISHER_EVENTS} | kwargs)

    def create_subscription(self, *args: Any, **kwargs: Any) -> Subscription:
        """Make a subscription as rclpy does, without its events."""
        return super().create_subscription(*args, **{"event_callbacks": NO_SUBSCRIPTION_EVENTS} | kwargs)

    def prepare(self, parameters: Any) -> None:
        """Open what the work needs."""

    def begin(self) -> None:
        """Begin to work."""

    def end(self) -> None:
        """Stop working."""

    def release(self) -> None:
        """Close what `prepare` opened."""

    def status(self) -> tuple[int, str, dict[str, object]]:
        """Return level, a sentence, and figures for the diagnostics."""
        return OK, "", {}

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open everything; what is wrong is said, and keeps the node from becoming active."""
        self.refusal = ""

        def configure() -> None:
            try:
                self.prepare(read(self, self._section))
            except UserError as error:
                self.refusal = str(error)
                self.get_logger().error(self.refusal)

        return self._guarded("configure", configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin, unless something was wrong."""
        if self.refusal:
            self.get_logger().error(f"stays inactive: {self.refusal}")
            return TransitionCallbackReturn.FAILURE

        def activate() -> None:
            self.begin()
            self.active = True

        result = self._guarded("activate", activate)
        return super().on_activate(state) if result is TransitionCallbackReturn.SUCCESS else result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop working."""
        result = self._guarded("deactivate", self.stop_working)
        return super().on_deactivate(state) if result is TransitionCallbackReturn.SUCCESS else result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close everything."""
        return self._guarded("clean up", self.release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop working and close everything."""

        def shut_down() -> None:
            self.stop_working()
            self.release()

        return self._guarded("shut down", shut_down)

    def stop_working(self) -> None:
        """End the work, if it goes on."""
        if self.active:
            self.active = False
            self.end()

    def _guarded(self, what: str, action: Callable[[], None]) -> TransitionCallbackReturn:
        # The executor does nothing else meanwhile, and opening a bundle takes longer than a silence may last.
        ended = threading.Event()
        beat = threading.Thread(target=self._beat, args=(ended, what), name="transition", daemon=True)
        beat.start()
        try:
            action()
        except UserError as error:
            self.get_logger().error(f"cannot {what}: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().fatal(f"cannot {what}: {traceback.format_exc()}")
            raise
        finally:
            ended.set()
            beat.join()
        return TransitionCallbackReturn.SUCCESS

    def _beat(self, ended: threading.Event, what: str) -> None:
        beats, name = 0, self.get_name()
        while not ended.wait(ALIVE_PERIOD_S):
            self._alive.publish(String(data=name))
            beats += 1
            if beats % BEATS_A_DIAGNOSIS == 0:
                stamp_ns = self.get_clock().now().nanoseconds
                self._diagnostics.publish(diagnostics(name, OK, f"is about to {what}", {}, stamp_ns))

    def _publish_diagnostics(self) -> None:
        level, text, values = self.status()
        if self.refusal:
            level, text = ERROR, self.refusal
        stamp_ns = self.get_clock().now().nanoseconds
        self._diagnostics.publish(diagnostics(self.get_name(), level, text, values, stamp_ns))


def ended_by_signal() -> Callable[[], bool]:
    """Return what tells whether SIGINT or SIGTERM has come, or our starter has died.

    The handler only notes it: an exception out of a handler may strike rclpy anywhere. A starter that was
    killed can end nobody, and a second one would find two arm bridges.
    """
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    starter = os.environ.get(STARTER)
    return lambda: ended.is_set() or (starter is not None and str(os.getppid()) != starter)


def spin(name: str, make: Callable[[], ManagedNode], niceness: int = 0) -> None:
    """Run one node until it is told to end.

    Args:
        name: The node's name, of which there may be one on this machine in its ROS domain.
        make: Makes the node, once rclpy is up.
        niceness: How far the process stands back behind the others, above all the arm bridge, where there are
            fewer processors than work.

    Raises:
        UserError: Another process of this name runs already.
    """
    os.nice(niceness)
    ended = ended_by_signal()
    with sole_process(name), participating():
        node = make()
        # Not the events executor: rclpy may lock up in it, or in what it is made of (ros2/rclpy issue 1722).
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        try:
            while not ended():
                try:
                    executor.spin_once(timeout_sec=0.1)
                except RCLError as error:
                    # rclpy lets anybody who asks for a transition out of turn end the node, arms and all.
                    if UNFIT_TRANSITION not in str(error):
                        raise
                    node.get_logger().error("a transition was asked for that does not fit; nothing is done")
        except ExternalShutdownException:
            pass
        finally:
            node.stop_working()
            node.release()
            executor.shutdown()
            node.destroy_node()
