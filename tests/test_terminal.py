"""A sitting in a plain terminal: what is typed, and what is told."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from evaluation_fixtures import ObedientRobot, plan_with

from dygro_ros.errors import UserError
from dygro_ros.evaluation.record import Outcome, open_record
from dygro_ros.evaluation.session import Phase, Session
from dygro_ros.evaluation.sitting import Sitting
from dygro_ros.evaluation.terminal import HELP, Terminal


class Typed:
    """A terminal whose time the test moves."""

    def __init__(self, folder: Path) -> None:
        self.now_s = 100.0
        self.robot = ObedientRobot()
        self.record = open_record(folder / "run", plan_with(folder), dict)
        self.session = Session(self.record, self.robot, clock=lambda: self.now_s)
        self.said: list[str] = []
        self.terminal = Terminal(Sitting(self.session), self.said.append)

    def types(self, *lines: str) -> None:
        for line in lines:
            self.terminal.obey(line)

    def after(self, seconds: float) -> None:
        self.now_s += seconds
        self.session.tick()

    def told(self) -> str:
        self.said.clear()
        self.terminal.tell()
        return "\n".join(self.said)

    def runs(self) -> None:
        self.types("")
        self.after(2.0)
        assert self.phase is Phase.RUNNING

    @property
    def phase(self) -> Phase:
        return self.session.view().phase


@pytest.fixture
def typed(tmp_path: Path) -> Iterator[Typed]:
    found = Typed(tmp_path)
    yield found
    found.record.close()


def test_a_trial_from_scene_to_outcome(typed: Typed) -> None:
    assert "trial 1 of 16: put the cup on the coaster; scene 1\nready: lay the objects" in typed.told()
    assert typed.told() == ""
    typed.types("")
    assert typed.told() == "trial 1 of 16 begins in 2 s; Enter stops"
    typed.after(1.5)
    assert typed.told() == "trial 1 of 16 begins in 1 s; Enter stops"
    typed.after(0.5)
    assert typed.told() == "trial 1 of 16 runs for at most 20 s; Enter STOPS, e ends"
    typed.after(3.0)
    typed.types("e")
    told = typed.told()
    assert "trial 1 of 16 ended after 3.0 s" in told
    assert "why: 1 no motion, 2 missed grasp" in told and "points: 50 lifts the cup" in told
    typed.types("p 50 3 it slipped")
    assert typed.record.finished[1].outcome == Outcome("partial", 50, "dropped", "it slipped")
    assert "trial 2 of 16" in typed.told()


@pytest.mark.parametrize("line", ["", "x", "stop!", "s", "v the cable", "report"])
def test_while_the_arms_move_every_line_but_one_stops_them(typed: Typed, line: str) -> None:
    typed.runs()
    typed.types(line)
    assert typed.robot.calls == ["begin", "stop", "end"] and typed.phase is Phase.JUDGING
    assert "stopped by the operator" in typed.told()
    assert not typed.record.finished


def test_enter_in_the_countdown_stops(typed: Typed) -> None:
    typed.types("", "")
    assert typed.robot.calls == ["stop"] and typed.phase is Phase.SCENE
    assert "! stopped before the robot moved" in typed.told()


def test_every_kind_of_outcome(typed: Typed) -> None:
    cases = {
        "s": Outcome("success", 100),
        "s at last": Outcome("success", 100, note="at last"),
        "f 1": Outcome("failure", 0, "no motion"),
        "f  6   the lamp fell": Outcome("failure", 0, "other", "the lamp fell"),
        "p 99 2": Outcome("partial", 99, "missed grasp"),
    }
    for number, (line, outcome) in enumerate(cases.items(), start=1):
        typed.runs()
        typed.types("e", line)
        assert typed.record.finished[number].outcome == outcome
    typed.types("c 1 f 2 looked again")
    assert typed.record.finished[1].outcome == Outcome("failure", 0, "missed grasp", "looked again")
    typed.runs()
    typed.types("e", "v the camera's cable")
    assert "attempt 2" in typed.told()
    assert typed.record.unfinished[0].reason == "the camera's cable"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("g", "expected s, p, f or another command, got 'g'"),
        ("f", "WHY must be a number, got ''"),
        ("f 7", "WHY must be 1 to 6, got 7"),
        ("f 0", "WHY must be 1 to 6, got 0"),
        ("p", "POINTS must be a number, got ''"),
        ("p -3 1", "POINTS must be a number, got '-3'"),
        ("p ٣ 1", "POINTS must be a number"),
        ("p 100 1", "points of a partial must be 1 to 99, got 100"),
        ("p 9999999 1", "POINTS must be a number"),
        ("v", "a void trial must have a reason"),
        ("s " + "x" * 2001, "note must have at most 2000 characters"),
        ("", "cannot start trial 1 now: it is in phase judging"),
        ("c", "TRIAL must be a number"),
        ("c 9 s", "trial 9 has no outcome to correct"),
    ],
)
def test_what_does_not_fit_is_said_and_changes_nothing(typed: Typed, line: str, sentence: str) -> None:
    typed.runs()
    typed.types("e")
    with pytest.raises(UserError, match=sentence):
        typed.types(line)
    assert typed.phase is Phase.JUDGING and not typed.record.finished


def test_what_is_wrong_with_the_robot_is_told(typed: Typed) -> None:
    health = (("arm_bridge", "error", "left arm is silent"), ("policy_node", "warn", "no instruction yet"))
    typed.robot.state = replace(
        typed.robot.state,
        ready=False,
        waits_for="the arms to hold",
        stopped="left arm 501 ms old",
        health=health,
    )
    told = typed.told()
    assert "! arm_bridge: left arm is silent" in told and "policy_node" not in told
    assert "trial 1 of 16 waits for: the arms to hold" in told
    assert "! the arms have stopped: left arm 501 ms old; r resets" in told
    typed.types("r", "a")
    assert typed.robot.calls == ["reset"] and len(typed.robot.prepared) == 3


def test_the_arms_go_home_at_a_word(typed: Typed) -> None:
    typed.robot.state = replace(
        typed.robot.state, ready=False, asks_home=True, waits_for="the word to go home"
    )
    assert "trial 1 of 16 waits for: the word to go home; h gives it" in typed.told()
    typed.types("h")
    assert typed.robot.calls == ["home"] and "ready: lay the objects" in typed.told()


def test_lines_are_obeyed_until_q_and_errors_end_nothing(typed: Typed) -> None:
    typed.terminal.run(iter(["?\n", "nonsense\n", "\n", "q\n", "s\n"]))
    assert typed.said.count(HELP) == 1 and HELP.lstrip().startswith("Enter")
    assert [line for line in typed.said if line.startswith("error")] == [
        "error: expected s, p, f or another command, got 'nonsense'; ? shows them"
    ]
    assert typed.phase is Phase.COUNTDOWN


def test_when_all_is_done_it_says_what_is_left_to_do(typed: Typed) -> None:
    for _ in range(16):
        typed.runs()
        typed.types("e", "s")
    assert typed.told() == "each of 16 trials has its outcome: report, c or q"
    with pytest.raises(UserError, match="each trial has its outcome"):
        typed.types("s")
    typed.types("report")
    assert typed.said[-1].endswith("report.html") and typed.record.looks == []
