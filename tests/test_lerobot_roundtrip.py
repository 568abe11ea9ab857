"""The comparison with LeRobot: what it calls equal, and what it says where no Python is new enough."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.lerobot_roundtrip import compare, environment, episodes, find_python, together
from dygro_ros.errors import DependencyError


def test_only_what_came_back_is_called_equal() -> None:
    sent = together(episodes(2, frames=5, size=16))
    assert compare(sent, sent, exact=True) == (["equal"] * 4, True)
    pictures = {key: np.minimum(views, 250) + 3 for key, views in sent.pictures.items()}
    cells, good = compare(sent._replace(pictures=pictures), sent, exact=True)
    assert cells[:3] == ["equal"] * 3 and cells[3].endswith("of 255 off") and not good
    assert compare(sent._replace(pictures=pictures), sent, exact=False)[1]
    assert compare(sent._replace(pictures={}), sent, exact=False) == ([*["equal"] * 3, "OTHER SHAPES"], False)
    for place, other in enumerate(
        (
            sent._replace(state=sent.state + np.float32(1e-6)),
            sent._replace(action=sent.action[::-1]),
            sent._replace(task=sent.task[::-1]),
        )
    ):
        cells, good = compare(other, sent, exact=False)
        assert cells[place] == "DIFFER" and not good


def test_where_no_python_is_new_enough_it_says_what_to_install(tmp_path: Path) -> None:
    old = tmp_path / "python3.11"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for named in (str(old), str(tmp_path / "none")):
        with pytest.raises(DependencyError, match=r"needs Python 3\.12 or newer .* none in .*: install one"):
            find_python(named)
    with pytest.raises(DependencyError, match="or name it by --python"):
        environment(tmp_path / "venv", str(old))
    assert not (tmp_path / "venv").exists()
