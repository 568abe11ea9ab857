"""Finding solvable seeds: enough of them, in RoboTwin's order, each outcome kept at once."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tyro
from robotwin_fixtures import SEED, make_installation

from dygro_ros.errors import UserError
from sim2real.robotwin.find_seeds import FindSeeds, find_seeds, report
from sim2real.robotwin.seed_book import SeedBook, Verdict
from sim2real.seeds import SeedPurpose

ROOT = Path(__file__).resolve().parents[1]


class Judge:
    """Succeeds on seeds that end in one of these digits."""

    def __init__(self, solvable: str) -> None:
        self.book = SeedBook("demo_clean")
        self._solvable = solvable

    def judge(self, task: str, seed: int) -> Verdict:
        solvable = str(seed)[-1] in self._solvable
        verdict = Verdict(solvable=solvable, reason="" if solvable else "unstable", info={})
        self.book.record(task, seed, verdict)
        return verdict


def test_seeds_are_looked_at_in_order_until_there_are_enough() -> None:
    judge, kept = Judge("0248"), []
    looked_at = find_seeds(
        judge,
        "lift_pot",
        SeedPurpose.EVALUATION,
        2,
        5,
        lambda: kept.append(1),  # type: ignore[arg-type]
    )
    assert looked_at == range(300_000, 300_011) and len(kept) == 11
    assert judge.book.solvable("lift_pot", looked_at) == [300_000, 300_002, 300_004, 300_008, 300_010]
    said = report(judge.book, "lift_pot", looked_at)
    assert said.startswith(
        "lift_pot: 5 seeds count among 300000 .. 300010; passed over: 300001 (unstable); 3"
    )
    assert report(judge.book, "lift_pot", range(300_000, 300_001)).endswith("passed over: none")


def test_an_expert_that_never_succeeds_is_given_up() -> None:
    with pytest.raises(UserError, match=r"failed on 200 seeds in a row, at last on 100199 \(unstable\)"):
        find_seeds(Judge(""), "lift_pot", SeedPurpose.EVALUATION, 0, 1, lambda: None)  # type: ignore[arg-type]


def test_the_purpose_is_typed_as_the_manual_says() -> None:
    page = (ROOT / "docs" / "robotwin.md").read_text("utf-8")
    typed = re.search(r"`(--purpose \w+)` looks", page)
    assert typed
    needed = ["--checkout", "c", "--python", "p", "--tasks", "lift_pot", "--book", "b"]
    assert tyro.cli(FindSeeds, args=[*needed, *typed[1].split()]).purpose is SeedPurpose.ONLINE
    assert tyro.cli(FindSeeds, args=needed).purpose is SeedPurpose.EVALUATION


def test_the_command_keeps_a_book_and_says_what_does_not_count(tmp_path: Path) -> None:
    installation = make_installation(tmp_path)
    book = tmp_path / "books" / "seeds.json"
    command = [sys.executable, "-m", "sim2real.robotwin.find_seeds", "--checkout", str(installation.checkout)]
    command += ["--python", str(installation.python), "--book", str(book), "--count", "4", "--tasks"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(*task: str) -> subprocess.CompletedProcess[str]:
        whole = [*command, *task]
        return subprocess.run(whole, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)

    ran = run("lift_pot")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("lift_pot: 4 seeds count among 100000 .. 100004; passed over: 100003 (unst")
    read = SeedBook.read(book, "demo_clean")
    assert read.solvable("lift_pot", range(SEED, SEED + 9)) == [SEED, SEED + 1, SEED + 2, SEED + 4]
    ran = run("beat_hammer")
    assert ran.returncode == 2 and "unknown RoboTwin task 'beat_hammer'" in ran.stderr
    for count in ("0", "-1"):
        ran = run("lift_pot", "--count", count)
        assert ran.returncode == 2 and f"--count must be at least 1, got {count}" in ran.stderr
