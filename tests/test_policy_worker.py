"""The policy's worker: the newest picture, with the joints of its moment, answered in a thread of its own."""

import queue
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from policy_fixtures import SIZE_PX, answer, make_bundle

from dygro_ros.errors import UserError
from dygro_ros.inference import OnnxPolicy
from dygro_ros.layout import encode_instruction
from dygro_ros.manifest import WHOLE_PICTURE
from dygro_ros.pacing import Pacing, PacingConfig
from dygro_ros.policy_worker import Answer, PolicyWorker

MS = 1_000_000
WAIT_S = 20.0
TEXT = "put the cup on the coaster"


class Outcomes:
    """What a worker said."""

    def __init__(self) -> None:
        self.answers: queue.Queue[Answer] = queue.Queue()
        self.faults: queue.Queue[str] = queue.Queue()


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> OnnxPolicy:
    return OnnxPolicy(make_bundle(tmp_path_factory.mktemp("worker") / "bundle"))


@pytest.fixture
def outcomes() -> Outcomes:
    return Outcomes()


def make(
    policy: OnnxPolicy, outcomes: Outcomes, cameras: int = 1, clock: Callable[[], float] = lambda: 0.0
) -> PolicyWorker:
    return PolicyWorker(
        policy,
        [WHOLE_PICTURE] * cameras,
        pacing=Pacing(PacingConfig(0.4, 0.04, 0.1, 0.0)),
        instruction=TEXT,
        answer=outcomes.answers.put,
        fault=outcomes.faults.put,
        clock=clock,
        wall_ns=lambda: 0,
    )


@pytest.fixture
def worker(policy: OnnxPolicy, outcomes: Outcomes) -> Iterator[PolicyWorker]:
    made = make(policy, outcomes)
    made.start()
    yield made
    made.stop()


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIZE_PX, SIZE_PX, 3), dtype=np.uint8)


def joints(value: float) -> np.ndarray:
    return np.full(14, value, dtype=np.float32)


def test_an_answer_is_of_the_picture_and_the_joints_of_its_moment(
    worker: PolicyWorker, outcomes: Outcomes
) -> None:
    for stamp_ms, value in ((900, 0.1), (1_000, 0.2), (1_020, 0.3)):
        worker.measure(stamp_ms * MS, joints(value))
    worker.see(0, 1_005 * MS, picture(1))
    found = outcomes.answers.get(timeout=WAIT_S)
    assert found.stamp_ns == 1_005 * MS
    wanted = answer(picture(1)[None], encode_instruction(TEXT), joints(0.225))[0]
    np.testing.assert_allclose(found.output.chunk, wanted, atol=1e-5)


def test_pictures_between_are_left_out_and_another_instruction_is_heeded_at_once(
    worker: PolicyWorker, outcomes: Outcomes
) -> None:
    worker.measure(1_000 * MS, joints(0.2))
    worker.see(0, 1_000 * MS, picture(1))
    assert outcomes.answers.get(timeout=WAIT_S).stamp_ns == 1_000 * MS
    worker.measure(1_060 * MS, joints(0.2))
    worker.see(0, 1_050 * MS, picture(2))  # sooner than the interval
    worker.instruct("open the drawer")
    worker.see(0, 1_060 * MS, picture(3))
    assert outcomes.answers.get(timeout=WAIT_S).stamp_ns in (1_050 * MS, 1_060 * MS)
    assert worker.instruction == "open the drawer"


def test_what_is_missing_is_waited_for(worker: PolicyWorker, outcomes: Outcomes) -> None:
    worker.see(0, 1_000 * MS, picture(1))
    worker.measure(800 * MS, joints(0.1))  # 200 ms before the picture: not its joints
    with pytest.raises(queue.Empty):
        outcomes.answers.get(timeout=0.05)
    worker.measure(1_010 * MS, joints(0.2))
    assert outcomes.answers.get(timeout=WAIT_S).stamp_ns == 1_000 * MS


def test_a_wall_clock_that_jumps_back_does_not_end_the_answers(
    worker: PolicyWorker, outcomes: Outcomes
) -> None:
    for stamp_ms in (5_000, 1_000):
        worker.measure(stamp_ms * MS, joints(0.1))
        worker.see(0, stamp_ms * MS, picture(1))
        assert outcomes.answers.get(timeout=WAIT_S).stamp_ns == stamp_ms * MS


def test_a_picture_that_does_not_fit_is_a_fault_and_the_next_one_is_answered(
    worker: PolicyWorker, outcomes: Outcomes
) -> None:
    worker.measure(1_000 * MS, joints(0.1))
    worker.see(0, 1_000 * MS, np.zeros((SIZE_PX, 2 * SIZE_PX, 3), np.uint8))
    assert "the crop leaves" in outcomes.faults.get(timeout=WAIT_S)
    worker.measure(1_200 * MS, joints(0.1))
    worker.see(0, 1_200 * MS, picture(1))
    assert outcomes.answers.get(timeout=WAIT_S).stamp_ns == 1_200 * MS


def test_another_number_of_cameras_is_refused(policy: OnnxPolicy, outcomes: Outcomes) -> None:
    with pytest.raises(UserError, match="the bundle has 1 cameras, the robot's profile crops 2"):
        make(policy, outcomes, cameras=2)


def test_the_wait_for_the_joints_of_a_picture_is_told(policy: OnnxPolicy, outcomes: Outcomes) -> None:
    now_s = 5.0
    worker = make(policy, outcomes, clock=lambda: now_s)
    worker.start()
    worker.see(0, 1_000 * MS, picture(1))
    now_s = 5.006
    worker.measure(1_004 * MS, joints(0.1))
    assert outcomes.answers.get(timeout=WAIT_S).waited_s == pytest.approx(0.006)
    worker.stop()
