from pathlib import Path

import pytest

from dygro_ros import checkout
from dygro_ros.checkout import current_commit, source_root
from dygro_ros.errors import DependencyError


def test_the_commit_is_a_hash_or_says_that_it_is_unknown() -> None:
    commit = current_commit().removesuffix("-dirty")
    assert commit == "unknown" or len(commit) == 40


def test_another_projects_checkout_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checkout, "ROOT", tmp_path)
    assert current_commit() == "unknown"


def test_others_are_shown_a_checkout_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert (source_root() / "dygro_ros" / "checkout.py").is_file()
    (tmp_path / "numpy").mkdir()
    monkeypatch.setattr(checkout, "ROOT", tmp_path)
    with pytest.raises(DependencyError, match=rf"{tmp_path} is no checkout of dygro_ros .*pip install -e"):
        source_root()
