"""The simulated robot's node, without the others."""

import threading

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="the ros extra is for Linux on x86-64")

from nodes_fixtures import ROOT

from sim2real.cell.work_cell import WorkCell
from sim2real.sim_robot_node import SimRobotNode, SimRobotParameters

pytestmark = pytest.mark.usefixtures("own_domain")


def test_the_first_rendering_which_takes_long_is_over_before_the_node_is_active(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rendered: list[str] = []
    images = WorkCell.images

    def noted(cell: WorkCell) -> np.ndarray:
        found = images(cell)
        rendered.append(threading.current_thread().name)
        return found

    monkeypatch.setattr(WorkCell, "images", noted)
    node = SimRobotNode()
    profile = yaml.safe_load((ROOT / "config" / "sim.yaml").read_text())
    node.prepare(SimRobotParameters(**profile["sim_robot"]["ros__parameters"]))
    node.begin()
    try:
        assert rendered[:1] == ["control"]
    finally:
        node.end()
        node.release()
        node.destroy_node()
