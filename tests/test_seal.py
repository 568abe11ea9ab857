import json
import os
from pathlib import Path

import pytest

from dygro_ros.errors import DataError
from dygro_ros.evaluation.seal import CODE_NAMES, make_seal, open_names, read_seal


def test_what_was_sealed_is_read_back(tmp_path: Path) -> None:
    made = make_seal(tmp_path / "sealed.json", ["new", "old"])
    assert made.codes == CODE_NAMES[:2]
    assert {made.policy(code) for code in made.codes} == {"new", "old"}
    again = read_seal(tmp_path / "sealed.json", made.digest)
    assert [again.policy(code) for code in made.codes] == [made.policy(code) for code in made.codes]
    assert os.stat(tmp_path / "sealed.json").st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["sealed.json"]


def test_names_are_dealt_at_random(tmp_path: Path) -> None:
    dealt = [make_seal(tmp_path / f"{i}", ["new", "old"]) for i in range(40)]
    assert {seal.policy("amber") for seal in dealt} == {"new", "old"}
    assert len({seal.digest for seal in dealt}) == 40


def test_names_are_dealt_once_whatever_a_kill_left(tmp_path: Path) -> None:
    path = tmp_path / "sealed.json"
    made = make_seal(path, ["new", "old"])
    # A kill between two steps of making it leaves the same file under a second name.
    os.link(path, tmp_path / "sealed.json.new")
    with pytest.raises(DataError, match="dealt once"):
        make_seal(path, ["new", "old"])
    read_seal(path, made.digest)


def test_another_file_than_was_sealed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sealed.json"
    made = make_seal(path, ["new", "old"])
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"codes": dict(zip(CODE_NAMES, ["old", "new"], strict=False))}) + " ")
    with pytest.raises(DataError, match="is not what was sealed"):
        read_seal(path, made.digest)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_seal(path, made.digest)


def test_open_names_hide_nothing() -> None:
    seal = open_names(["new", "old"])
    assert seal.codes == ("new", "old") and seal.policy("new") == "new"
