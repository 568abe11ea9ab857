"""Taking part in the nodes' middleware, the same way for every process of ours."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import try_shutdown

from dygro_ros.middleware import middleware_environment


@contextmanager
def participating() -> Iterator[None]:
    """Set rclpy up while entered: heard on this machine only, unless the environment says otherwise.

    Signals stay Python's: rclpy's handlers would end the middleware before the arms have come to rest.
    """
    os.environ.update(middleware_environment(os.environ))
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield
    finally:
        try_shutdown()


@contextmanager
def spinning(node: Node) -> Iterator[None]:
    """Let a node hear and answer, in a thread of its own while entered; then destroy it."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    ended = threading.Event()

    def spin() -> None:
        try:
            while not ended.is_set():
                executor.spin_once()
        except ExternalShutdownException:
            return

    thread = threading.Thread(target=spin, name="spinning", daemon=True)
    thread.start()
    try:
        yield
    finally:
        # As the executor's own task: shut down from another thread, it takes its guard from under a callback.
        executor.create_task(ended.set)
        thread.join()
        executor.shutdown()
        node.destroy_node()
