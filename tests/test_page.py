"""The operator's page in a browser: a whole evaluation by keyboard, two pages, and what goes wrong."""

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import pytest
from page_fixtures import ServedPage, served, table
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from dygro_ros.errors import UserError
from dygro_ros.evaluation.page.serve import PageServer
from dygro_ros.evaluation.record import Outcome

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="the page's tests need Chromium and its driver: apt-get install chromium chromium-driver",
)
WAIT_S = 20.0
DESK, TABLET = (1280, 860), (820, 1180)
TASK = {
    "instruction": "put the cup on the coaster",
    "time_limit_s": 20,
    "scenes": "scenes",
    "rubric": {25: "touches the cup", 50: "lifts it", 75: "holds it above the coaster"},
}


class Operator:
    """One browser, used by its keyboard."""

    def __init__(self, size: tuple[int, int] = DESK) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        # In a container Chromium can neither make its sandbox nor rely on a large /dev/shm.
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(argument)
        options.add_argument(f"--window-size={size[0]},{size[1]}")
        self.browser = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))

    def press(self, *keys: str) -> None:
        for key in keys:
            ActionChains(self.browser).send_keys(key).perform()

    def shows(self, element: str) -> bool:
        return self.browser.find_element(By.ID, element).is_displayed()

    def enabled(self, element: str) -> bool:
        return self.shows(element) and self.browser.find_element(By.ID, element).is_enabled()

    def text(self, element: str) -> str:
        return self.browser.find_element(By.ID, element).text

    def until(self, true: Callable[[], Any]) -> None:
        ends_s = time.monotonic() + WAIT_S
        while not true():
            assert time.monotonic() < ends_s, self.browser.find_element(By.TAG_NAME, "body").text
            time.sleep(0.02)

    def is_at(self, number: int) -> bool:
        return self.text("progress-text").startswith(f"trial {number} of ")

    def start(self) -> None:
        self.until(lambda: self.enabled("home") or self.enabled("start"))
        self.press("h")
        self.until(lambda: self.enabled("start"))
        self.press(Keys.ENTER)
        self.until(lambda: self.enabled("end"))


@pytest.fixture(scope="module")
def operator() -> Iterator[Operator]:
    found = Operator()
    yield found
    found.browser.quit()


@pytest.fixture
def page(tmp_path: Path, operator: Operator) -> Iterator[ServedPage]:
    """A page that the operator has opened: two policies, ten trials of each."""
    (tmp_path / "scenes").mkdir()
    for number in range(3):
        picture = cv2.cvtColor(table(number, 40), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(tmp_path / "scenes" / f"{number}.png"), picture)
    with served(tmp_path, tasks={"place_empty_cup": TASK}, trials=10, countdown_s=0) as found:
        operator.browser.get(found.server.address)
        operator.until(lambda: operator.enabled("home"))
        yield found
        operator.browser.get("about:blank")


def test_twenty_trials_by_keyboard_alone(page: ServedPage, operator: Operator) -> None:
    press, record = operator.press, page.record
    assert "token" not in operator.browser.current_url
    wanted: dict[int, Outcome] = {}
    for number in range(1, 21):
        operator.until(partial(operator.is_at, number))
        operator.start()
        if number % 5 == 0:
            press(Keys.ESCAPE)  # the stop
        elif number % 5 == 1:
            press(" ")  # the stop, too
        else:
            press("e")
        operator.until(lambda: operator.shows("judging"))
        if number == 7:
            press("v")
            assert not operator.enabled("record")  # it needs a reason
            press(*"a loose fuse", Keys.ENTER)  # of which no letter is a command
            operator.until(lambda: ", attempt 2" in operator.text("progress-text"))
            operator.start()
            press("e")
            operator.until(lambda: operator.shows("judging"))
        if number % 3 == 0:
            press("f", "2", "n", *"it slipped", Keys.ENTER)
            wanted[number] = Outcome("failure", 0, "missed grasp", "it slipped")
        elif number % 3 == 1:
            press("s", Keys.ENTER)
            wanted[number] = Outcome("success", 100)
        else:
            press("p", Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, "3", Keys.ENTER)
            wanted[number] = Outcome("partial", 55, "dropped")
        operator.until(partial(record.finished.get, number))
        if page.robot.state.stopped:
            operator.until(lambda: operator.enabled("reset") or operator.shows("finished"))
            press("r")
    operator.until(lambda: operator.shows("finished"))
    assert {number: done.outcome for number, done in record.finished.items()} == wanted
    stopped = {number for number, done in record.finished.items() if done.facts.intervened}
    assert stopped == {1, 5, 6, 10, 11, 15, 16, 20}
    assert [(one.number, one.reason, one.void) for one in record.unfinished] == [(7, "a loose fuse", True)]
    assert record.looks == []

    press(Keys.ENTER)
    operator.until(lambda: len(operator.browser.window_handles) == 2)
    operator.browser.switch_to.window(operator.browser.window_handles[1])
    operator.until(lambda: "20 of 20 trials" in operator.browser.page_source)
    operator.browser.close()
    operator.browser.switch_to.window(operator.browser.window_handles[0])
    report = json.loads((record.folder / "results.json").read_text())
    assert report["finished"] == 20 and not report["unblinded"]
    assert operator.browser.get_log("browser") == []


def test_what_is_not_complete_is_not_recorded(page: ServedPage, operator: Operator) -> None:
    operator.start()
    operator.press("e")
    operator.until(lambda: operator.shows("judging"))
    for keys in ((), ("f",), ("p", "1")):
        operator.press(*keys, Keys.ENTER)
        assert not operator.enabled("record")
    operator.press(Keys.ARROW_LEFT, Keys.ENTER)
    operator.until(lambda: page.record.finished)
    assert page.record.finished[1].outcome == Outcome("partial", 50, "no motion")


def test_an_earlier_outcome_is_corrected_and_an_early_look_is_noted(
    page: ServedPage, operator: Operator
) -> None:
    operator.start()
    operator.press("e")
    operator.until(lambda: operator.shows("judging"))
    operator.press("s", Keys.ENTER)
    operator.until(lambda: page.record.finished)
    operator.browser.execute_script("document.getElementById('earlier').open = true")
    operator.until(lambda: operator.text("judged") == "1 success")
    operator.browser.find_element(By.CSS_SELECTOR, "#judged button").click()
    operator.until(lambda: operator.text("facts") == "Correct trial 1")
    operator.press("x")
    operator.until(lambda: operator.shows("scene"))
    operator.browser.find_element(By.CSS_SELECTOR, "#judged button").click()
    operator.browser.find_element(By.ID, "facts").click()
    operator.press("f", "3", "n", *"rolled off", Keys.ENTER)
    operator.until(lambda: page.record.finished[1].corrections == 1)
    assert page.record.finished[1].outcome == Outcome("failure", 0, "dropped", "rolled off")
    operator.browser.find_element(By.ID, "early-report").click()
    operator.until(lambda: len(operator.browser.window_handles) == 2)
    operator.browser.switch_to.window(operator.browser.window_handles[1])
    operator.until(lambda: "Results were looked at after 1 of 20 trials" in operator.browser.page_source)
    operator.browser.close()
    operator.browser.switch_to.window(operator.browser.window_handles[0])
    assert page.record.looks == [("report", 1)]


def test_two_pages_show_the_same_and_a_late_word_changes_nothing(
    page: ServedPage, operator: Operator
) -> None:
    other = Operator(TABLET)
    try:
        other.browser.get(page.server.address)
        other.until(lambda: other.enabled("home"))
        for element in ("stop", "start", "home", "reset", "prepare"):
            found = other.browser.find_element(By.ID, element).size
            assert found["height"] >= 44 and found["width"] >= 44
        operator.start()
        other.until(lambda: other.enabled("end"))
        other.browser.find_element(By.ID, "stop").click()
        operator.until(lambda: operator.shows("judging") and operator.shows("stopped"))
        # Both have the form open; the second to record is told that the trial has gone on.
        other.until(lambda: other.shows("judging"))
        operator.press("s")
        late = {"action": "judge", "trial": 1, "attempt": 1, "verdict": "failure", "points": 0}
        other.press("f", "1")
        operator.press(Keys.ENTER)
        operator.until(lambda: page.record.finished)
        other.browser.execute_script("post('/act', arguments[0])", late | {"failure": "dropped"})
        other.until(lambda: "cannot judge trial 1, attempt 1: trial 2" in other.text("message"))
        assert page.record.finished[1].outcome == Outcome("success", 100)
        other.until(lambda: other.text("progress-text") == operator.text("progress-text"))
        # The header with the stop stays in sight however far one scrolls.
        other.browser.execute_script("window.scrollTo(0, 10000)")
        place = other.browser.execute_script(
            "const r = document.getElementById('stop').getBoundingClientRect(); return [r.top, r.bottom]"
        )
        assert place[0] >= 0 and place[1] < TABLET[1]
    finally:
        other.browser.quit()


def test_the_reference_lies_over_the_picture_at_any_opacity(page: ServedPage, operator: Operator) -> None:
    def opacity() -> float:
        script = "return getComputedStyle(document.getElementById('reference')).opacity"
        return float(operator.browser.execute_script(script))

    drawn = "return document.getElementById(arguments[0])"
    for image in ("camera", "reference"):
        operator.until(partial(operator.browser.execute_script, f"{drawn}.naturalWidth === 640", image))
    assert opacity() == 0.5
    operator.press("o")
    assert opacity() == 0.0
    operator.press("o")
    slider = operator.browser.find_element(By.ID, "opacity")
    slider.send_keys(Keys.ARROW_RIGHT)
    assert opacity() == pytest.approx(0.51)
    operator.start()
    assert not operator.shows("reference")


def test_a_camera_that_goes_away_is_said_and_comes_back(page: ServedPage, operator: Operator) -> None:
    operator.until(lambda: not operator.shows("no-picture"))
    page.camera.clear()
    operator.until(lambda: operator.shows("no-picture"))
    assert "what you see is old" in operator.text("no-picture")
    page.camera.set()
    operator.until(lambda: not operator.shows("no-picture"))


def test_a_robot_that_is_not_well_is_told(page: ServedPage, operator: Operator) -> None:
    page.robot.state = replace(
        page.robot.state,
        ready=False,
        asks_home=False,
        waits_for="arm_bridge has not been heard for 3 s",
        health=(("arm_bridge", "error", "not heard for 3 s"), ("policy_node", "ok", "")),
    )
    operator.until(lambda: "Waits for: arm_bridge has not been heard" in operator.text("ready"))
    assert not operator.enabled("start") and "not heard for 3 s" in operator.text("health")
    operator.press(Keys.ENTER)
    assert "begin" not in page.robot.calls


def test_arms_that_nobody_watches_are_stopped(page: ServedPage, operator: Operator) -> None:
    operator.start()
    operator.browser.get("about:blank")
    operator.until(lambda: "stop" in page.robot.calls)
    assert page.robot.state.stopped


def test_after_a_click_the_keys_work_as_before(page: ServedPage, operator: Operator) -> None:
    operator.start()
    operator.press("e")
    operator.until(lambda: operator.shows("judging"))
    operator.browser.find_element(By.ID, "success").click()
    operator.press(Keys.ENTER)
    operator.until(lambda: page.record.finished)


def test_a_server_that_ends_is_said_and_so_is_one_that_was_started_anew(
    page: ServedPage, operator: Operator
) -> None:
    assert not operator.shows("lost")
    page.server.end()
    operator.until(lambda: operator.shows("lost"))
    assert "this page cannot stop the arms" in operator.text("lost")
    servers: list[PageServer] = []

    def started_again() -> bool:
        # The port was the system's choice, which may have given it to somebody else for a moment.
        with contextlib.suppress(UserError):
            servers.append(PageServer(page.sitting, page.picture, "127.0.0.1", page.server.port))
        return bool(servers)

    operator.until(started_again)
    (again,) = servers
    thread = threading.Thread(target=again.run, daemon=True)
    thread.start()
    operator.until(lambda: "open the address that it has printed" in operator.text("lost"))
    operator.browser.get(again.address)
    operator.until(lambda: operator.enabled("home") and not operator.shows("lost"))
    again.end()
    thread.join()
