"""The book of seeds: what is kept of each, and what is refused as a book."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from dygro_ros.errors import DataError
from sim2real.robotwin.seed_book import SeedBook, Verdict

GOOD = Verdict(solvable=True, reason="", info={"{a}": "left"})
BAD = Verdict(solvable=False, reason="unstable", info={})


def filled() -> SeedBook:
    book = SeedBook("demo_clean")
    for seed, verdict in ((100002, GOOD), (100000, GOOD), (100001, BAD), (200000, BAD)):
        book.record("lift_pot", seed, verdict)
    return book


def test_a_book_is_read_as_it_was_written(tmp_path: Path) -> None:
    filled().write(tmp_path / "seeds.json")
    book = SeedBook.read(tmp_path / "seeds.json", "demo_clean")
    assert book.verdict("lift_pot", 100002) == GOOD
    assert book.verdict("lift_pot", 100001) == BAD
    assert book.verdict("lift_pot", 100003) is None and book.verdict("hang", 100000) is None


def test_seeds_are_listed_within_a_range_in_its_order() -> None:
    book = filled()
    assert book.solvable("lift_pot", range(100000, 100010)) == [100000, 100002]
    assert book.solvable("lift_pot", range(100001, 100002)) == []
    assert book.passed_over("lift_pot", range(100000, 100010)) == {100001: "unstable"}
    assert book.solvable("hang", range(10)) == [] and book.passed_over("hang", range(10)) == {}


@pytest.mark.parametrize("verdict", [{"solvable": True, "reason": "why"}, {"solvable": False, "reason": ""}])
def test_a_verdict_does_not_contradict_itself(verdict: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="solvable, or has a reason"):
        Verdict(**verdict, info={})  # type: ignore[arg-type]


def test_another_configurations_book_is_refused(tmp_path: Path) -> None:
    filled().write(tmp_path / "seeds.json")
    with pytest.raises(DataError, match="task_config must be 'demo_randomized', found 'demo_clean'"):
        SeedBook.read(tmp_path / "seeds.json", "demo_randomized")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the whole file"),
        ('{"task_config": "demo_clean"}', "tasks"),
        ('{"task_config": "demo_clean", "tasks": {"a": {"1": {"solvable": 1}}}}', r"tasks\.a\.1.solvable"),
        ('{"task_config": "demo_clean", "tasks": {"a": {"one": {}}}}', r"tasks\.a\.one"),
    ],
)
def test_a_damaged_book_is_refused_by_its_field(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "seeds.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        SeedBook.read(tmp_path / "seeds.json", "demo_clean")


def test_a_missing_book_is_named_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"seeds\.json: cannot be read .*find_seeds makes it"):
        SeedBook.read(tmp_path / "seeds.json", "demo_clean")
