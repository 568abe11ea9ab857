"""RoboTwin behind a link (`sim2real.process_link`); run in RoboTwin's interpreter.

`python -m sim2real.robotwin.server CHECKOUT CONFIGURATIONS TASK_CONFIG WRIST_CAMERAS(0|1)`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from sim2real.process_server import Handler, serve
from sim2real.robotwin.versions import SIMULATOR, SIMULATOR_REMEDY, require


def prepare(
    checkout: Path, configurations: Path, task_config: str, wrist_cameras: bool
) -> Mapping[str, Handler]:
    """Check the versions, import RoboTwin and return what answers calls."""
    require(SIMULATOR, SIMULATOR_REMEDY)
    from sim2real.robotwin.simulation import RobotwinSimulation

    simulation = RobotwinSimulation(checkout, configurations, task_config, wrist_cameras)
    names = ("judge", "begin", "step", "state", "pictures")
    return {name: getattr(simulation, name) for name in names}


if __name__ == "__main__":
    places = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    serve(lambda: prepare(*places, sys.argv[3], sys.argv[4] == "1"))
