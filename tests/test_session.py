"""One sitting of an evaluation, on a clock and a robot that the test moves."""

from dataclasses import replace
from pathlib import Path

import pytest
from evaluation_fixtures import FAILURE, SUCCESS, ObedientRobot, plan_with

from dygro_ros.errors import DataError, NotAllowed
from dygro_ros.evaluation.record import TrialFacts, open_record
from dygro_ros.evaluation.session import Phase, Session


class Sitting:
    """A session with its robot and clock."""

    def __init__(self, folder: Path, **changes: object) -> None:
        self.now_s = 100.0
        self.robot = ObedientRobot()
        self.record = open_record(folder / "run", plan_with(folder, **changes), dict)
        self.session = Session(self.record, self.robot, clock=lambda: self.now_s)

    def after(self, seconds: float) -> Phase:
        self.now_s += seconds
        self.session.tick()
        return self.session.view().phase

    def run(self) -> None:
        self.session.start(*self.at_hand)
        assert self.after(2.0) is Phase.RUNNING

    @property
    def at_hand(self) -> tuple[int, int]:
        view = self.session.view()
        assert view.trial is not None
        return view.trial.number, view.attempt


@pytest.fixture
def sitting(tmp_path: Path) -> Sitting:
    return Sitting(tmp_path)


def test_a_trial_goes_from_scene_to_outcome(sitting: Sitting) -> None:
    session, robot = sitting.session, sitting.robot
    assert session.view().phase is Phase.SCENE and len(robot.prepared) == 1
    session.start(1, 1)
    assert sitting.after(1.5) is Phase.COUNTDOWN and session.view().countdown_s == pytest.approx(0.5)
    assert robot.calls == []
    assert sitting.after(0.5) is Phase.RUNNING and robot.calls == ["begin"]
    assert robot.recordings[0] == sitting.record.folder / "recordings" / "trial_0001_1"
    assert sitting.after(3.25) is Phase.RUNNING and session.view().elapsed_s == pytest.approx(3.25)
    session.end(1, 1)
    assert session.view().phase is Phase.JUDGING and robot.calls == ["begin", "end"]
    session.judge(1, 1, FAILURE)
    assert sitting.record.finished[1].facts == TrialFacts(3.25)
    assert sitting.at_hand == (2, 1) and session.view().phase is Phase.SCENE and len(robot.prepared) == 2


def test_each_policy_is_prepared_as_its_code_name_says(sitting: Sitting) -> None:
    for _ in range(16):
        sitting.run()
        sitting.session.end(*sitting.at_hand)
        sitting.session.judge(*sitting.at_hand, SUCCESS)
    assert sitting.session.view().phase is Phase.FINISHED
    plan, seal = sitting.record.plan, sitting.record.seal
    for trial, policy in sitting.robot.prepared:
        assert policy == plan.policies[seal.policy(trial.code)]
    with pytest.raises(NotAllowed, match="each trial has its outcome"):
        sitting.session.start(16, 1)


def test_time_is_up(sitting: Sitting) -> None:
    sitting.run()
    assert sitting.after(19.9) is Phase.RUNNING
    assert sitting.after(0.1) is Phase.JUDGING
    facts = sitting.session.view().facts
    assert facts is not None and facts.timed_out and not facts.intervened


def test_stop_comes_before_everything_and_is_an_intervention(sitting: Sitting) -> None:
    sitting.session.stop()
    assert sitting.session.view().phase is Phase.SCENE
    sitting.session.start(*sitting.at_hand)
    sitting.session.stop()
    assert sitting.session.view().phase is Phase.SCENE
    assert sitting.session.view().message == "stopped before the robot moved"
    sitting.run()
    sitting.session.stop()
    facts = sitting.session.view().facts
    assert facts is not None and facts.intervened
    assert sitting.robot.calls == ["stop", "stop", "begin", "stop", "end"]


def test_arms_that_stop_by_themselves_end_the_trial(sitting: Sitting) -> None:
    sitting.run()
    sitting.robot.state = replace(sitting.robot.state, ready=False, stopped="head_camera is silent")
    assert sitting.after(0.5) is Phase.JUDGING
    facts = sitting.session.view().facts
    assert facts is not None and facts.safety_stop == "head_camera is silent"
    sitting.session.void(*sitting.at_hand, "the camera's cable")
    assert sitting.at_hand == (1, 2)
    with pytest.raises(NotAllowed, match="the robot is not ready: no reason was given"):
        sitting.session.start(1, 2)


def test_the_arms_go_home_when_they_ask_and_are_told(sitting: Sitting) -> None:
    with pytest.raises(NotAllowed, match="the arms do not wait to go home now"):
        sitting.session.home(1, 1)
    sitting.robot.state = replace(sitting.robot.state, ready=False, asks_home=True)
    with pytest.raises(NotAllowed, match="cannot go home for trial 2, attempt 1: trial 1"):
        sitting.session.home(2, 1)
    assert sitting.robot.calls == []
    sitting.session.home(1, 1)
    assert sitting.robot.calls == ["home"]
    sitting.run()
    with pytest.raises(NotAllowed, match="cannot go home for trial 1 now: it is in phase running"):
        sitting.session.home(1, 1)


def test_after_a_stop_a_reset_makes_ready_anew(sitting: Sitting) -> None:
    sitting.session.start(1, 1)
    with pytest.raises(NotAllowed, match="cannot reset the arms now: the trial is in phase countdown"):
        sitting.session.reset()
    sitting.session.stop()
    sitting.session.reset()
    assert sitting.robot.calls == ["stop", "reset"] and len(sitting.robot.prepared) == 2
    sitting.session.prepare_again(1, 1)
    assert len(sitting.robot.prepared) == 3
    sitting.run()
    with pytest.raises(NotAllowed, match="cannot prepare trial 1 now: it is in phase running"):
        sitting.session.prepare_again(1, 1)
    sitting.session.stop()
    sitting.robot.refusal = "left arm is silent"
    with pytest.raises(NotAllowed, match="left arm is silent"):
        sitting.session.reset()
    sitting.robot.refusal = ""
    sitting.session.reset()
    # What comes next is the operator's word on the trial that was stopped.
    assert len(sitting.robot.prepared) == 3 and sitting.session.view().phase is Phase.JUDGING


def test_a_trial_that_neither_begins_nor_can_be_noted_is_said(
    sitting: Sitting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise DataError("no space left on device")

    sitting.robot.refusal = "left arm is silent"
    monkeypatch.setattr(sitting.record, "void", full)
    sitting.session.start(1, 1)
    assert sitting.after(2.0) is Phase.SCENE
    assert sitting.session.view().message == (
        "trial 1 did not begin: left arm is silent; no space left on device"
    )


def test_a_robot_that_is_not_ready_any_more_ends_the_countdown(sitting: Sitting) -> None:
    sitting.session.start(1, 1)
    sitting.robot.state = replace(sitting.robot.state, ready=False, waits_for="left arm is silent")
    assert sitting.after(0.1) is Phase.SCENE
    assert sitting.session.view().message == "the robot is no longer ready: left arm is silent"
    assert sitting.robot.calls == []


def test_a_trial_that_does_not_begin_is_kept_and_comes_again(sitting: Sitting) -> None:
    sitting.robot.refusal = "the disk is full"
    sitting.session.start(1, 1)
    assert sitting.after(2.0) is Phase.SCENE
    assert sitting.session.view().message == "trial 1 did not begin: the disk is full"
    assert sitting.at_hand == (1, 2)
    assert [attempt.reason for attempt in sitting.record.unfinished] == ["did not begin: the disk is full"]


def test_what_comes_too_late_or_for_another_trial_is_refused(sitting: Sitting) -> None:
    session = sitting.session
    with pytest.raises(NotAllowed, match="cannot judge trial 1 now: it is in phase scene"):
        session.judge(1, 1, SUCCESS)
    with pytest.raises(NotAllowed, match="cannot start trial 2, attempt 1: trial 1, attempt 1, is at hand"):
        session.start(2, 1)
    sitting.run()
    session.end(1, 1)
    with pytest.raises(NotAllowed, match="cannot end trial 1 now: it is in phase judging"):
        session.end(1, 1)
    session.judge(1, 1, SUCCESS)
    # Another page says the same once more: the next trial must not be touched.
    with pytest.raises(NotAllowed, match="trial 2, attempt 1, is at hand"):
        session.judge(1, 1, FAILURE)
    assert sitting.record.finished[1].outcome == SUCCESS


def test_a_sitting_that_ends_stops_the_arms(sitting: Sitting) -> None:
    sitting.run()
    sitting.session.close()
    assert sitting.robot.calls == ["begin", "stop", "end"]
    sitting.record.close()
