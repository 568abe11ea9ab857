"""One process of a kind on this machine: a second arm bridge would command the same arms.

A process claims a name for as long as it lives, by a Unix socket without a file: the kernel gives it back
when the process ends, however it ends. Machines, and containers with a network of their own, do not see
each other's. Knows no rclpy.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from dygro_ros.errors import UserError

# Whoever had the name may be letting the arms come to rest: a little more than that takes [s].
PATIENCE_S = 5.0
LOOK_PERIOD_S = 0.1
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


@contextmanager
def sole_process(
    node: str, patience_s: float = PATIENCE_S, environment: Mapping[str, str] = os.environ
) -> Iterator[None]:
    """Be this machine's only process of a node's name in its ROS domain while entered.

    Args:
        node: Name of the node.
        patience_s: How long to wait for another one that is ending [s].
        environment: Holds the domain, `ROS_DOMAIN_ID`.

    Raises:
        UserError: There is another one; says which process it is.
    """
    domain = environment.get("ROS_DOMAIN_ID") or "0"
    address = f"\0dygro_ros/domain {domain}/{node}"
    until_s = time.monotonic() + patience_s
    with socket.socket(socket.AF_UNIX) as claimed:
        while not _bound(claimed, address):
            if time.monotonic() > until_s:
                raise UserError(
                    f"{node} already runs on this machine in ROS domain {domain}{_holder(address)}: end what "
                    "started it first, or give this robot a domain of its own by ROS_DOMAIN_ID"
                )
            time.sleep(LOOK_PERIOD_S)
        claimed.listen()
        yield


def _bound(claimed: socket.socket, address: str) -> bool:
    try:
        claimed.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True


def _holder(address: str) -> str:
    """Return " (process 1234)", or nothing if it has just ended."""
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(address)
        except ConnectionRefusedError:
            return ""
        found = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return f" (process {_CREDENTIALS.unpack(found)[0]})"
