import json
from pathlib import Path

import numpy as np
import pytest

from dygro_ros.errors import DependencyError, UserError
from sim2real.libero.environment import LiberoEnvironment
from sim2real.libero.installation import Installation
from sim2real.libero.tasks import EVALUATION_STATES, TaskList, describe

CUP = """<mujoco><asset>
<mesh name="cup" file="visual/cup.msh"/>
<texture name="tex" file="cup.png"/><texture name="tex" file="unread.png"/>
</asset></mujoco>"""
SCENE = """<mujoco><asset>
<texture name="texplane" file="../textures/default.png"/>
<texture name="tex-wall" file="../textures/default.png"/>
<mesh name="fridge" file="fridge/fridge.msh"/><texture name="builtin" builtin="flat"/>
</asset></mujoco>"""
FILES = {
    "scenes/kitchen.xml": SCENE,
    "scenes/fridge/fridge.msh": "",
    "objects/cup/cup.xml": CUP,
    "objects/cup/visual/cup.msh": "",
    "objects/cup/cup.png": "",
    "textures/floor.png": "",
}


def entry(instruction: str) -> dict[str, object]:
    return {
        "instruction": instruction,
        "assets": ["scenes/kitchen.xml", "objects/cup/cup.xml"],
        "textures": ["textures/floor.png"],
        "goal": [["on", "cup_1", "table_region"]],
    }


@pytest.fixture
def tasks(tmp_path: Path) -> TaskList:
    installation = Installation(tmp_path)
    index = {"libero_90": {"B_lift_cup": entry("lift cup"), "A_put_cup": entry("put cup")}, "libero_10": {}}
    index["libero_10"]["C_both"] = {**entry("both"), "assets": ["objects/pan/pan.xml"]}
    installation.index.write_text(json.dumps(index))
    for name, content in FILES.items():
        path = installation.assets / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return TaskList(installation)


def test_tasks_are_found_by_name(tasks: TaskList) -> None:
    task = tasks.named("A_put_cup")
    assert task is tasks.named("libero_90/A_put_cup")
    assert (str(task), task.instruction, task.step_limit) == ("libero_90/A_put_cup", "put cup", 400)
    assert task.goal == (("on", "cup_1", "table_region"),)
    assert [found.name for found in tasks.of_suite("libero_10")] == ["C_both"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("A_put_cap", r"unknown LIBERO task 'A_put_cap' \(did you mean 'A_put_cup'\?\)"),
        ("libero_10/A_put_cup", "unknown LIBERO task 'A_put_cup'.*: expected one of C_both$"),
        ("libero_9/A_put_cup", r"unknown LIBERO suite 'libero_9' \(did you mean 'libero_90'"),
    ],
)
def test_a_wrong_name_is_refused(tasks: TaskList, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tasks.named(name)


@pytest.mark.parametrize("name", FILES)
def test_every_missing_file_is_named(tasks: TaskList, name: str) -> None:
    tasks.check_assets(tasks.named("A_put_cup"))
    (tasks.installation.assets / name).unlink()
    with pytest.raises(DependencyError, match=rf"A_put_cup needs assets .*: {name}; .* --assets FOLDER"):
        tasks.check_assets(tasks.named("A_put_cup"))


def test_a_damaged_description_is_named(tasks: TaskList) -> None:
    (tasks.installation.assets / "objects/cup/cup.xml").write_text(CUP[:60])
    for ask in (lambda: tasks.check_assets(tasks.named("A_put_cup")), lambda: tasks.available):
        with pytest.raises(
            DependencyError, match=r"objects/cup/cup\.xml: a damaged desc.* --folder \S+ --assets FOLDER"
        ):
            ask()


def test_what_can_run_is_described(tasks: TaskList) -> None:
    assert [task.name for task in tasks.available] == ["B_lift_cup", "A_put_cup"]
    text = describe(tasks.installation)
    assert "libero_90: assets for 2 of 2 tasks\n  B_lift_cup\n  A_put_cup\n" in text
    assert "libero_10: assets for 0 of 1 tasks" in text


@pytest.mark.parametrize("content", ["", "[]", '{"libero_90": {"A": {"instruction": "a"}}}'])
def test_a_damaged_index_is_told(tmp_path: Path, content: str) -> None:
    installation = Installation(tmp_path)
    installation.index.write_text(content)
    with pytest.raises(DependencyError, match=r"tasks.json is damaged .* run: python -m sim2real.libero"):
        TaskList(installation)


def test_liberos_own_tasks_are_all_there(libero: LiberoEnvironment) -> None:
    tasks = libero.tasks
    sizes = {suite: len(tasks.of_suite(suite)) for suite in tasks.suites}
    tens = dict.fromkeys(("libero_spatial", "libero_object", "libero_goal", "libero_10"), 10)
    assert sizes == {**tens, "libero_90": 90}
    everything = [task for suite in tasks.suites for task in tasks.of_suite(suite)]
    assert len({task.name for task in everything}) == len(everything)
    for task in everything:
        states = np.load(tasks.installation.initial_states(task.suite, task.name))
        assert len(states) == EVALUATION_STATES
        assert np.isfinite(states).all()
    # As LIBERO's benchmark words it; the task's own file says "middle layer of the drawer".
    assert tasks.named("open_the_middle_drawer_of_the_cabinet").instruction == (
        "open the middle drawer of the cabinet"
    )
    assert tasks.named("KITCHEN_SCENE10_close_the_top_drawer_of_the_cabinet").instruction == (
        "close the top drawer of the cabinet"
    )
