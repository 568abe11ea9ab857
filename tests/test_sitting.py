"""A sitting that goes on by itself, and stops the arms that nobody watches."""

from pathlib import Path

import pytest
from evaluation_fixtures import SUCCESS, ObedientRobot, plan_with

from dygro_ros.errors import UserError
from dygro_ros.evaluation import sitting as sitting_module
from dygro_ros.evaluation.record import open_record
from dygro_ros.evaluation.session import Phase, Session
from dygro_ros.evaluation.sitting import WATCHED_S, Sitting


class Clocked:
    """A sitting on the test's clock."""

    def __init__(self, folder: Path, watched: bool) -> None:
        self.now_s = 100.0
        self.robot = ObedientRobot()
        self.record = open_record(folder / "run", plan_with(folder, countdown_s=0), dict)
        self.session = Session(self.record, self.robot, clock=lambda: self.now_s)
        self.sitting = Sitting(self.session, watched=watched, clock=lambda: self.now_s)


@pytest.mark.parametrize("watched", [True, False])
def test_arms_that_nobody_watches_are_stopped_where_somebody_should(tmp_path: Path, watched: bool) -> None:
    clocked = Clocked(tmp_path, watched)
    clocked.sitting.tick()
    assert clocked.robot.calls == []  # nothing moves, so nobody has to watch
    clocked.sitting.seen(clocked.now_s)
    clocked.session.start(1, 1)
    clocked.sitting.tick()
    clocked.now_s += WATCHED_S
    clocked.sitting.tick()
    assert clocked.session.view().phase is Phase.RUNNING
    clocked.now_s += 0.1
    clocked.sitting.tick()
    phase = clocked.session.view().phase
    if watched:
        assert phase is Phase.JUDGING and clocked.robot.calls == ["begin", "stop", "end"]
    else:
        assert phase is Phase.RUNNING and clocked.robot.calls == ["begin"]


def test_time_passes_while_it_is_entered_and_the_arms_rest_when_it_is_left(tmp_path: Path) -> None:
    robot = ObedientRobot()
    session = Session(open_record(tmp_path / "run", plan_with(tmp_path, countdown_s=0), dict), robot)
    with Sitting(session):
        session.start(1, 1)
        while session.view().phase is not Phase.RUNNING:
            pass
    assert robot.calls == ["begin", "stop", "end"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_sitting_whose_time_stands_still_stops_the_arms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot = ObedientRobot()
    session = Session(open_record(tmp_path / "run", plan_with(tmp_path, countdown_s=0), dict), robot)

    def broken() -> None:
        raise ZeroDivisionError

    with Sitting(session) as sitting:
        session.start(1, 1)
        while session.view().phase is not Phase.RUNNING:
            pass
        monkeypatch.setattr(sitting, "tick", broken)
        while session.view().phase is Phase.RUNNING:
            pass
        assert robot.calls == ["begin", "stop", "end"]


def test_a_report_before_the_end_is_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clocked = Clocked(tmp_path, False)
    clocked.session.start(1, 1)
    clocked.sitting.tick()
    clocked.session.end(1, 1)
    clocked.session.judge(1, 1, SUCCESS)
    path = clocked.sitting.report()
    assert path == clocked.sitting.report_path and "after 1 of 16 trials" in path.read_text()
    assert clocked.record.looks == [("report", 1)]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sitting_module, "write_report", full)
    with pytest.raises(UserError, match=r"report\.html cannot be written: No space left on device"):
        clocked.sitting.report()
