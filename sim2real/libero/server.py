"""One LIBERO task behind a link (`sim2real.process_link`); run in LIBERO's interpreter.

`python -m sim2real.libero.server TASK_FILE STATES_FILE IMAGE_SIZE`. One environment a process: robosuite
1.4.0 releases the GL context of the live environment when an old one is freed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sim2real.process_server import Handler, serve


def prepare(task_file: Path, states: Path, image_size: int) -> Mapping[str, Handler]:
    """Build the environment and return what answers calls."""
    from sim2real.libero.pictures import Pictures
    from sim2real.libero.simulation import LiberoSimulation

    simulation = LiberoSimulation(task_file, states)
    pictures = Pictures(simulation.sim, image_size)

    def images() -> dict[str, Any]:
        return {"images": pictures.images()}

    return {
        "describe": simulation.describe,
        "origin": simulation.origin,
        "model": simulation.model,
        "state": simulation.state,
        "reset": simulation.reset,
        "step": simulation.step,
        "images": images,
    }


if __name__ == "__main__":
    arguments = (Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
    serve(lambda: prepare(*arguments))
