"""How the nodes' middleware is set up: who may hear them, and room for whole pictures."""

from __future__ import annotations

from collections.abc import Mapping

from dygro_ros.robot_profile import config_file

DISCOVERY_RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
# Of Fast DDS 2 (Humble, Jazzy) and of Fast DDS 3.
FASTDDS_PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


def middleware_environment(existing: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables to start nodes with; what the environment says already is kept.

    Nobody outside this machine hears the nodes, or is heard, unless the environment says so. Fast DDS gets a
    profile of ours: its default loses best-effort messages of more than 0.5 MB (ros2/rmw_fastrtps issue 739).

    Raises:
        UserError: The installation lacks the profile.
    """
    found = {DISCOVERY_RANGE: existing.get(DISCOVERY_RANGE, "LOCALHOST")}
    if not any(name in existing for name in FASTDDS_PROFILES):
        reach = "local" if found[DISCOVERY_RANGE] == "LOCALHOST" else "network"
        found |= dict.fromkeys(FASTDDS_PROFILES, str(config_file(f"fastdds_{reach}.xml")))
    return found
