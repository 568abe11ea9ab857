"""What the nodes' middleware is told."""

import xml.etree.ElementTree as ElementTree

import pytest

from dygro_ros.errors import UserError
from dygro_ros.middleware import DISCOVERY_RANGE, FASTDDS_PROFILES, middleware_environment
from dygro_ros.robot_profile import config_file

PICTURE_BYTES = 1920 * 1080 * 3


def texts(name: str, tag: str) -> list[str]:
    found = ElementTree.parse(config_file(name)).iter()
    return [element.text or "" for element in found if element.tag.endswith("}" + tag)]


def test_nodes_are_heard_on_their_machine_only_unless_the_environment_says_so() -> None:
    alone = middleware_environment({})
    assert alone[DISCOVERY_RANGE] == "LOCALHOST"
    assert {alone[name] for name in FASTDDS_PROFILES} == {str(config_file("fastdds_local.xml"))}
    assert texts("fastdds_local.xml", "address") == ["127.0.0.1"]
    network = middleware_environment({DISCOVERY_RANGE: "SUBNET"})
    assert network[DISCOVERY_RANGE] == "SUBNET"
    assert network[FASTDDS_PROFILES[0]].endswith("fastdds_network.xml")
    assert texts("fastdds_network.xml", "address") == []
    assert middleware_environment({FASTDDS_PROFILES[0]: "mine.xml"}) == {DISCOVERY_RANGE: "LOCALHOST"}


@pytest.mark.parametrize("name", ["fastdds_local.xml", "fastdds_network.xml"])
def test_whole_pictures_fit_into_shared_memory(name: str) -> None:
    assert [int(text) for text in texts(name, "segment_size")] >= [2 * PICTURE_BYTES]
    assert texts(name, "useBuiltinTransports") == ["false"]


def test_a_file_that_is_not_installed_is_named() -> None:
    with pytest.raises(UserError, match=r"nothing\.xml is not in .*config"):
        config_file("nothing.xml")
