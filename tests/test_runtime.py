"""The robot side in one process: the policy's chunk reaches the arms, and a silent camera stops them."""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from policy_fixtures import SIZE_PX, make_bundle

from dygro_ros.arm_controller import Command, Mode
from dygro_ros.cameras.camera import Frame
from dygro_ros.errors import NotAllowed, UserError
from dygro_ros.inference import OnnxPolicy
from dygro_ros.robot_profile import AgesParameters, RobotProfile, read_profile
from dygro_ros.runtime import Runtime, by_side

WAIT_S = 30.0


class Eye:
    """A camera that sees grey until it is told to go blind."""

    def __init__(self) -> None:
        self.blind = threading.Event()
        self.closed = False

    def open(self) -> str:
        return "grey"

    def next(self, timeout_s: float) -> Frame | None:
        if self.blind.wait(0.02):
            return None
        return Frame(np.full((SIZE_PX, SIZE_PX, 3), 200, np.uint8), time.time_ns())

    def reset(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class Follower:
    """Arms that follow at once."""

    def __init__(self, start: np.ndarray) -> None:
        self.position = start.copy()

    def measured(self) -> dict[str, np.ndarray]:
        return by_side(self.position)

    def command(self, position: np.ndarray) -> None:
        self.position = position.copy()


# A thread of a busy machine may wait this long without a fault.
PATIENT = AgesParameters(arm=(1, 2, 4), camera=(1, 2, 4), policy=(1, 2, 4), operator=(1, 2, 4))


def profile() -> RobotProfile:
    found = read_profile("sim")
    bridge = found.arm_bridge.model_copy(update={"ages": PATIENT})
    policy = found.policy_node.model_copy(
        update={"instruction": "move", "interval_s": 0.0, "whole_within_s": 0.0}
    )
    return found.model_copy(update={"policy_node": policy, "arm_bridge": bridge})


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> OnnxPolicy:
    return OnnxPolicy(make_bundle(tmp_path_factory.mktemp("runtime") / "bundle"))


@pytest.fixture
def commands() -> list[Command]:
    return []


@pytest.fixture
def eye() -> Eye:
    return Eye()


@pytest.fixture
def runtime(policy: OnnxPolicy, eye: Eye, commands: list[Command]) -> Iterator[Runtime]:
    home = profile().arm_bridge.controller().home
    made = Runtime(profile(), policy, eye, Follower(home), commanded=lambda c, now_s: commands.append(c))
    made.start()
    yield made
    made.stop()
    assert eye.closed


def until(true: Callable[[], object]) -> None:
    ends_s = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < ends_s
        time.sleep(0.005)


def run(runtime: Runtime) -> None:
    def try_to_run() -> bool:
        try:
            runtime.ask(lambda controller, now_s: controller.run(now_s))
        except NotAllowed:
            return False
        return True

    until(try_to_run)


def test_the_policy_moves_the_arms_and_a_blind_camera_stops_them(
    runtime: Runtime, eye: Eye, commands: list[Command]
) -> None:
    run(runtime)
    start = commands[0].position
    until(lambda: np.abs(commands[-1].position - start).max() > 0.02)
    assert runtime.answers[-1].output.gates.shape == (3,)
    eye.blind.set()
    until(lambda: commands[-1].mode is Mode.STOPPED)
    assert commands[-1].cause.startswith("head_camera")
    eye.blind.clear()
    with pytest.raises(UserError, match="run needs mode holding, the arms are stopped"):
        runtime.ask(lambda controller, now_s: controller.run(now_s))
