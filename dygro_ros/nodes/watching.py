"""Watching a camera: for who shows, films or keeps its pictures, and does not depend on any of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import Image

from dygro_ros.errors import UserError
from dygro_ros.nodes.managed import NEWEST
from dygro_ros.nodes.messages import picture_of, to_ns


def watch(node: Node, topic: str, take: Callable[[NDArray[np.uint8], int], None]) -> None:
    """Hand each picture of a topic over; one that cannot be read is told, and left out.

    Args:
        node: Listens, and warns.
        topic: sensor_msgs/Image.
        take: Takes a picture, (H, W, 3) RGB, that nobody changes any more, and its stamp [ns].
    """

    def on_picture(message: Image) -> None:
        try:
            picture = picture_of(message)
        except UserError as error:
            node.get_logger().warning(str(error), throttle_duration_sec=5.0)
            return
        take(picture, to_ns(message.header.stamp))

    node.create_subscription(Image, topic, on_picture, NEWEST)
