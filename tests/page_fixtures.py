"""What the tests of the page share: a sitting with a robot and a camera that do as they are told, served."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from evaluation_fixtures import ObedientRobot, plan_with

from dygro_ros.evaluation.live_picture import LivePicture
from dygro_ros.evaluation.page.serve import PageServer
from dygro_ros.evaluation.plan import PlannedTrial, PolicyPlan, TaskPlan
from dygro_ros.evaluation.record import EvaluationRecord, open_record
from dygro_ros.evaluation.session import Session
from dygro_ros.evaluation.sitting import Sitting
from dygro_ros.evaluation.trial_robot import RobotStatus

HEALTH = (("arm_bridge", "ok", ""), ("camera_node", "ok", ""), ("policy_node", "ok", ""))
SIZE_PX = (480, 640)


class QuickRobot(ObedientRobot):
    """Is ready a moment after it was asked to be, and runs until it is told otherwise."""

    def prepare(self, trial: PlannedTrial, task: TaskPlan, policy: PolicyPlan) -> None:
        super().prepare(trial, task, policy)
        ready = not self.state.stopped
        # Asks to go home first, as a robot near people does.
        waits_for = "the word to go home" if ready else "a reset"
        self.state = replace(self.state, ready=False, asks_home=ready, running=False, waits_for=waits_for)

    def begin(self, recording: Path) -> None:
        super().begin(recording)
        self.state = replace(self.state, ready=False, running=True)

    def stop(self) -> None:
        super().stop()
        why = "the operator stopped the arms"
        self.state = replace(self.state, ready=False, running=False, stopped=why, waits_for="a reset")

    def end(self) -> None:
        super().end()
        self.state = replace(self.state, running=False)


def table(second: float, shift_px: int = 0) -> np.ndarray:
    """Draw a table with a cup on it that moves, (480, 640, 3) RGB."""
    picture = np.full((*SIZE_PX, 3), (196, 178, 150), np.uint8)
    cv2.rectangle(picture, (420 + shift_px, 180), (520 + shift_px, 280), (60, 120, 70), -1)
    centre = (180 + shift_px + round(60 * np.sin(second)), 300)
    cv2.circle(picture, centre, 42, (170, 60, 50), -1)
    cv2.circle(picture, centre, 30, (110, 40, 36), -1)
    return picture


@dataclass
class ServedPage:
    """A page that is up."""

    record: EvaluationRecord
    robot: QuickRobot
    picture: LivePicture
    server: PageServer
    sitting: Sitting
    camera: threading.Event
    """Set while the camera gives pictures."""

    @property
    def root(self) -> str:
        """Address without the token."""
        return f"http://127.0.0.1:{self.server.port}"


@contextmanager
def served(folder: Path, **changes: Any) -> Iterator[ServedPage]:
    """Serve the page of a plan like the one in `evaluation_fixtures`, until left."""
    record = open_record(folder / "run", plan_with(folder, **changes), dict)
    robot = QuickRobot(state=RobotStatus(health=HEALTH))
    picture, camera, ends = LivePicture(), threading.Event(), threading.Event()
    camera.set()

    def film() -> None:
        while not ends.wait(1 / 30):
            if camera.is_set():
                picture.put(table(time.monotonic()))

    with Sitting(Session(record, robot), watched=True) as sitting:
        server = PageServer(sitting, picture, "127.0.0.1", 0)
        threads = [
            threading.Thread(target=film, daemon=True),
            threading.Thread(target=server.run, daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            yield ServedPage(record, robot, picture, server, sitting, camera)
        finally:
            ends.set()
            server.end()
            for thread in threads:
                thread.join()
    record.close()
