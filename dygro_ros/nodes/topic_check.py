"""Finds who sends to nobody: publishers and subscriptions of one topic that do not fit each other.

The middleware leaves them apart without a word. rclpy's own warnings cost entities in its wait set for each
publisher and subscription, a quarter of what the arm bridge's executor does; the supervisor, which has time,
looks at one topic after another instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo

# What rmw_fastrtps calls a node that it has heard of only by its topics.
UNNAMED = "_NODE_NAME_UNKNOWN_"


class TopicCheck:
    """Looks at the topics of some nodes, one after another, and says each thing once."""

    def __init__(self, node: Node, names: Sequence[str]) -> None:
        """Prepare.

        Args:
            node: Looks.
            names: The nodes that matter.
        """
        self._node, self._names = node, frozenset(names)
        self._said: set[str] = set()
        self._topics: list[str] = []

    def look(self) -> list[str]:
        """Look at the next topic and return what is wrong with it and has not been said."""
        if not self._topics:
            self._topics = [topic for topic, _ in self._node.get_topic_names_and_types()]
        if not self._topics:
            return []
        topic = self._topics.pop()
        found = [sentence for sentence in self._unheard(topic) if sentence not in self._said]
        self._said.update(found)
        return found

    def _unheard(self, topic: str) -> Iterator[str]:
        for sender in self._node.get_publishers_info_by_topic(topic):
            for hearer in self._node.get_subscriptions_info_by_topic(topic):
                names = {sender.node_name, hearer.node_name}
                # A node that has just been found has no name yet; the next round tells.
                if self._names.isdisjoint(names) or UNNAMED in names:
                    continue
                why = misfit(sender, hearer)
                if why:
                    yield f"{topic}: {hearer.node_name} hears nothing of {sender.node_name}: {why}"


def misfit(sender: TopicEndpointInfo, hearer: TopicEndpointInfo) -> str:
    """Return why what one sends does not reach the other, empty where it does."""
    if sender.topic_type != hearer.topic_type:
        return f"expected {hearer.topic_type}, got {sender.topic_type}"
    sent, heard = sender.qos_profile, hearer.qos_profile
    if (sent.reliability, heard.reliability) == (ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE):
        return "expected reliable messages, got best-effort ones"
    if (sent.durability, heard.durability) == (DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL):
        return "expected messages that are kept for who comes late (transient local), got volatile ones"
    return ""
