"""The command that measures a RoboTwin world, as it is typed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from robotwin_fixtures import make_installation

from dygro_ros.errors import UserError
from sim2real.robotwin.installation import Installation
from sim2real.robotwin.measure_world import main
from sim2real.robotwin.seed_book import SeedBook
from sim2real.robotwin.trials import Trials
from sim2real.robotwin.world_file import read_world

ROOT = Path(__file__).resolve().parents[1]
TASKS = ("lift_pot", "beat_block_hammer")


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return make_installation(tmp_path)


def test_the_file_holds_what_was_asked_for_and_measured(installation: Installation, tmp_path: Path) -> None:
    book, out = tmp_path / "seeds.json", tmp_path / "worlds" / "robotwin.json"
    SeedBook("demo_aloha").write(book)
    command = [
        sys.executable, "-m", "sim2real.robotwin.measure_world", "--tasks", *TASKS,
        "--checkout", str(installation.checkout), "--python", str(installation.python),
        "--task-config", "demo_aloha", "--proprio", "measured", "--instruction-split", "unseen",
        "--book", str(book), "--out", str(out),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    world = read_world(out)
    assert (world.tasks, world.task_config, world.proprio) == (TASKS, "demo_aloha", "measured")
    assert (world.instruction_split, world.book, world.installation) == ("unseen", book, installation)
    assert (world.lower[2], world.upper[2], world.upper[13]) == (0.0, pytest.approx(3.14), 1.0)
    assert "left_joint3      0.000 ..  3.140" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--tasks", "lift_pan"), "unknown RoboTwin task 'lift_pan'"),
        (("--tasks", "lift_pot", "lift_pot"), "--tasks must name each task once, got lift_pot lift_pot"),
        (("--tasks", "lift_pot", "--book", "none.json"), r"none\.json: cannot be read"),
        (("--tasks", "lift_pot", "--task-config", "demo"), "unknown task configuration 'demo'"),
    ],
)
def test_a_mistake_is_named_and_makes_no_file(
    installation: Installation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    places = ("--checkout", str(installation.checkout), "--python", str(installation.python))
    out = ("--out", str(tmp_path / "robotwin.json"))
    monkeypatch.setattr(sys, "argv", ["measure_world", *places, *arguments, *out])
    with pytest.raises(UserError, match=words):
        main()
    assert not (tmp_path / "robotwin.json").exists()


def test_only_a_world_is_replaced(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "robotwin.json"
    asked = ["--checkout", str(installation.checkout), "--python", str(installation.python)]
    for task in TASKS:
        monkeypatch.setattr(sys, "argv", ["measure_world", *asked, "--tasks", task, "--out", str(out)])
        main()
        assert read_world(out).tasks == (task,)
    trials = Trials("bundle", "0" * 64, tmp_path / "trials.json")
    trials.record("lift_pot", 100_000, True)
    before = (tmp_path / "trials.json").read_bytes()
    asked[-1] = "/bin/false"  # refused before anything is measured
    for name in ("trials.json", "."):
        out = tmp_path / name
        monkeypatch.setattr(sys, "argv", ["measure_world", *asked, "--tasks", "lift_pot", "--out", str(out)])
        with pytest.raises(UserError, match=rf"got {out}, which holds something else: give another --out"):
            main()
    assert (tmp_path / "trials.json").read_bytes() == before
