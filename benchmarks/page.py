"""The operator's page on the running nodes: how soon it is usable, its pictures, and from stop to held arms.

    python benchmarks/page.py --bundle runs/demo/bundle
    python benchmarks/page.py --bundle runs/demo/bundle --image-size 480 --screenshot docs/page.png

Headless Chromium opens the page of a sitting with the simulated robot, over real DDS and in real time, and
runs some trials by keyboard. A stop counts from the key's event in the browser to the first joint command
after which nothing moves any more. Needs Chromium with its driver and the extras train and test.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from sensor_msgs.msg import JointState

from dygro_ros.errors import DependencyError, UserError, run_main
from dygro_ros.evaluation.page.serve import PageServer
from dygro_ros.evaluation.plan import EvaluationPlan
from dygro_ros.evaluation.record import open_record
from dygro_ros.evaluation.session import Phase, Session
from dygro_ros.evaluation.sitting import Sitting
from dygro_ros.graph import overrides_for, processes
from dygro_ros.nodes.managed import NEWEST
from dygro_ros.nodes.messages import to_ns
from dygro_ros.nodes.participation import participating, spinning
from dygro_ros.start import Graph
from sim2real.ros_cell_trials import RosCellTrials

WAIT_S, MOVES_S, SETTLES_S, FILM_S = 60.0, 1.5, 1.0, 4.0
STILL = 1e-6  # [rad; fraction open] between two commands
# Counts the pictures that are drawn: how often a corner of the camera's image changes.
COUNT_PICTURES = """
const [seconds, done] = arguments, ends = performance.now() + seconds * 1000;
const camera = document.getElementById("camera"), canvas = document.createElement("canvas");
canvas.width = canvas.height = 96;
const pen = canvas.getContext("2d", { willReadFrequently: true });
let before = "", count = 0;
function look() {
  pen.drawImage(camera, 0, 0, 96, 96);
  const found = pen.getImageData(0, 0, 96, 96).data.join();
  if (found !== before) count += 1;
  before = found;
  if (performance.now() < ends) requestAnimationFrame(look); else done(count / seconds);
}
look();
"""
NOTE_STOPS = """
window.stops = [];
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") window.stops.push(performance.timeOrigin + event.timeStamp);
}, true);
"""


def plan_of(bundle: Path, stops: int) -> EvaluationPlan:
    """Return a plan with enough trials."""
    return EvaluationPlan.model_validate(
        {
            "title": "The page's speed",
            "robot": "sim",
            "trials": stops,
            "countdown_s": 0,
            "policies": {"policy": {"bundle": bundle.resolve()}},
            "tasks": {"place_empty_cup": {"time_limit_s": 30}},
            "simulation": {},
        }
    )


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """Open a browser."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1280,860")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (program and driver):
        raise DependencyError("this needs Chromium and its driver: apt-get install chromium chromium-driver")
    options.binary_location = program
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def until(what: str, true: Callable[[], Any]) -> None:
    """Wait."""
    ends_s = time.monotonic() + WAIT_S
    while not true():
        if time.monotonic() > ends_s:
            raise UserError(f"waited {WAIT_S:g} s for {what}")
        time.sleep(0.01)


def held_after_ms(stop_ms: float, commands: list[tuple[float, np.ndarray]]) -> float:
    """Return how long after a stop the commands no longer change [ms]."""
    before = [values for at_ms, values in commands if at_ms <= stop_ms]
    after = [(at_ms, values) for at_ms, values in commands if at_ms > stop_ms]
    moved_ms, last = stop_ms, before[-1]
    for at_ms, values in after:
        if np.abs(values - last).max() > STILL:
            moved_ms = at_ms
        last = values
    return moved_ms - stop_ms


def measure(
    browser: webdriver.Chrome,
    server: PageServer,
    session: Session,
    commands: list[Any],
    screenshot: Path | None,
) -> None:
    """Use the page and print what was seen."""

    def press(key: str) -> None:
        ActionChains(browser).send_keys(key).perform()

    def enabled(element: str) -> bool:
        found = browser.find_element(By.ID, element)
        return found.is_displayed() and found.is_enabled()

    until("the robot", lambda: session.view().robot.ready)
    begun_s = time.monotonic()
    browser.get(server.address)
    until("the page", lambda: browser.find_element(By.ID, "instruction").text.strip())
    print(f"page usable after {time.monotonic() - begun_s:.2f} s (bar 1)", flush=True)
    browser.execute_script(NOTE_STOPS)
    browser.set_script_timeout(WAIT_S)
    delays_ms: list[float] = []
    moving: list[float] = []
    while session.view().phase is not Phase.FINISHED:
        until("the robot", lambda: enabled("start"))
        press(Keys.ENTER)
        until("the trial", lambda: session.view().robot.running)
        if len(delays_ms) == 0:
            rate_hz = browser.execute_async_script(COUNT_PICTURES, FILM_S)
            print(f"camera: {rate_hz:.1f} pictures/s drawn (bar 15)", flush=True)
        else:
            time.sleep(MOVES_S)
        commands.clear()
        time.sleep(0.1)
        press(Keys.ESCAPE)
        until("the trial's end", lambda: session.view().phase is Phase.JUDGING)
        time.sleep(SETTLES_S)
        stop_ms = float(browser.execute_script("return window.stops.at(-1)"))
        found = list(commands)
        delays_ms.append(held_after_ms(stop_ms, found))
        before = np.array([values for at_ms, values in found if at_ms <= stop_ms])
        moving.append(float(np.abs(np.diff(before, axis=0)).max()))
        until("the form", lambda: enabled("success"))
        press("s")
        if screenshot is not None and len(delays_ms) == 2:
            browser.save_screenshot(str(screenshot))
        press(Keys.ENTER)
        until("the next trial", lambda: session.view().phase is not Phase.JUDGING)
        press("r")
    while_moving = [d for d, m in zip(delays_ms, moving, strict=True) if m > STILL]
    print(
        f"stop key to held arms, {len(while_moving)} stops of moving arms: median "
        f"{np.median(while_moving):.0f} ms, worst {max(while_moving):.0f} ms (bar 200)"
    )


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--stops", type=int, default=10)
    parser.add_argument("--image-size", type=int, default=128, help="height and width of the pictures [px]")
    parser.add_argument("--screenshot", type=Path, help="where to keep what the page looks like (PNG)")
    options = parser.parse_args()
    plan = plan_of(options.bundle, options.stops)
    overrides = overrides_for(str(options.bundle), "") | {"sim_robot": {"image_size": options.image_size}}
    commands: list[tuple[float, np.ndarray]] = []

    def note(message: JointState) -> None:
        commands.append((to_ns(message.header.stamp) * 1e-6, np.array(message.position)))

    with (
        tempfile.TemporaryDirectory() as folder,
        chromium() as browser,
        Graph(processes("sim", overrides)),
        participating(),
    ):
        robot = RosCellTrials(plan)
        robot.create_subscription(JointState, "dygro/joint_commands", note, NEWEST)
        record = open_record(Path(folder), plan, dict)
        with spinning(robot), Sitting(Session(record, robot), watched=True) as sitting:
            server = PageServer(sitting, robot.picture, "127.0.0.1", 0)
            serving = threading.Thread(target=server.run, daemon=True)
            serving.start()
            measure(browser, server, sitting.session, commands, options.screenshot)
            server.end()
            serving.join()
        record.close()
    return 0


if __name__ == "__main__":
    run_main(main)
