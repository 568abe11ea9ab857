"""Collecting demonstrations: only successes, the same whoever collects, resumable, never overwritten."""

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dygro_ros.errors import DataError, RunFolderError, UserError
from dygro_ros.layout import JOINT_LOWER, JOINT_UPPER
from sim2real.cell.instructions import all_instructions
from sim2real.cell.randomization import RANDOMIZED
from sim2real.cell.tasks import TASKS
from sim2real.cell.work_cell import WorkCell
from sim2real.seeds import SeedPurpose, purpose_of
from training.demonstration_index import DemonstrationIndex, read_index
from training.demonstrations import DemonstrationConfig, collect
from training.episode_file import read_episode

SMALL = DemonstrationConfig(episodes=3, companion_episodes=1, image_size=16)
TWO_TASKS = ("pick_dual_bottles", "place_empty_cup")


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> DemonstrationIndex:
    folder = tmp_path_factory.mktemp("demos") / "demos"
    return collect(SMALL, folder, tasks=TWO_TASKS, workers=2, show_progress=False)


def test_every_stream_holds_the_number_asked_for_and_seeds_are_its_own(
    collection: DemonstrationIndex,
) -> None:
    counts = {stream.name: len(stream.seeds) for stream in collection.streams}
    assert counts == {"pick_dual_bottles": 3, "place_empty_cup": 3, "place_empty_cup+beat_block_hammer": 1}
    for stream in collection.streams:
        tried = sorted(stream.seeds + stream.skipped)
        assert tried == list(range(tried[0], tried[0] + len(tried)))  # no seed left out unseen
        assert {purpose_of(seed) for seed in tried} == {SeedPurpose.DEMONSTRATIONS}
    solo, beside = collection.streams[1], collection.streams[2]
    assert not set(solo.seeds) & set(beside.seeds)


def test_replaying_what_was_executed_succeeds_and_gives_the_recorded_joints(
    collection: DemonstrationIndex,
) -> None:
    cell = WorkCell(image_size=16)
    for stream in collection.streams:
        record = read_episode(collection.paths(stream)[0])
        assert (record.task, record.companion, record.seed) == (
            stream.task,
            stream.companion,
            stream.seeds[0],
        )
        assert len(record.proprio) == stream.steps[0]
        assert record.executed is not None and record.privileged is not None
        cell.reset(stream.task, stream.seeds[0], companion=stream.companion)
        assert record.instructions[0] == cell.instruction
        for proprio, privileged, action in zip(
            record.proprio, record.privileged, record.executed, strict=True
        ):
            np.testing.assert_array_equal(cell.proprio(), proprio)
            np.testing.assert_array_equal(cell.privileged_state(), privileged)
            cell.step(action)
        assert cell.succeeded


def test_labels_are_clean_and_executed_commands_disturbed(collection: DemonstrationIndex) -> None:
    episodes = [read_episode(path) for path in collection.all_paths()]
    spread = [np.abs(e.executed - e.action).max() for e in episodes if e.executed is not None]
    assert all(0 < value <= 0.06 + 1e-6 for value in spread)
    for episode in episodes:
        assert (episode.action >= JOINT_LOWER).all() and (episode.action <= JOINT_UPPER).all()


def test_instructions_are_those_of_the_task_and_its_arms(collection: DemonstrationIndex) -> None:
    for stream in collection.streams:
        for path in collection.paths(stream):
            record = read_episode(path)
            possible = {
                text
                for arm in ("left", "right")
                for text in all_instructions(
                    stream.task, "seen", {"arm": arm} if "cup" in stream.task else {}
                )
            }
            assert set(record.instructions) <= possible
            assert len(set(record.instructions)) == len(record.instructions) >= 12


def test_one_worker_collects_the_same_as_two(collection: DemonstrationIndex, tmp_path: Path) -> None:
    alone = collect(SMALL, tmp_path / "one", tasks=TWO_TASKS, workers=1, show_progress=False)
    assert contents(alone.folder) == contents(collection.folder)
    assert alone.streams == collection.streams


def test_a_collection_is_completed_to_what_it_would_have_been_at_once(
    collection: DemonstrationIndex, tmp_path: Path
) -> None:
    folder = tmp_path / "parts"
    collect(replace(SMALL, episodes=1, companion_episodes=0), folder, tasks=TWO_TASKS, show_progress=False)
    kept = (folder / "place_empty_cup" / "episode0.hdf5").stat()
    completed = collect(SMALL, folder, tasks=TWO_TASKS, show_progress=False)
    assert (folder / "place_empty_cup" / "episode0.hdf5").stat().st_mtime_ns == kept.st_mtime_ns
    assert contents(folder) == contents(collection.folder)
    assert completed.streams == collection.streams
    fewer = collect(replace(SMALL, episodes=1), folder, tasks=TWO_TASKS[:1], show_progress=False)
    assert [stream.seeds for stream in fewer.streams] == [collection.streams[0].seeds[:1]]
    assert contents(folder) == contents(collection.folder)


def test_a_killed_collection_is_completed_and_its_workers_end(
    collection: DemonstrationIndex, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    command = [
        *(sys.executable, "-m", "training.demonstrations", "--out", str(folder), "--episodes", "3"),
        *("--companion-episodes", "1", "--image-size", "16", "--tasks", *TWO_TASKS),
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 60
    while not (folder / "pick_dual_bottles" / "episode0.hdf5").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(
        timeout=30
    )  # returns only once every worker has closed the shared pipe, that is, ended
    assert read_index(folder).streams != collection.streams
    collect(SMALL, folder, tasks=TWO_TASKS, show_progress=False)
    assert contents(folder) == contents(collection.folder)


def test_randomized_episodes_carry_their_draw(tmp_path: Path) -> None:
    config = replace(SMALL, episodes=1, companion_episodes=0)
    index = collect(
        config, tmp_path, tasks=("place_empty_cup",), randomization="randomized", show_progress=False
    )
    record = read_episode(index.all_paths()[0])
    assert record.randomization is not None and record.seed is not None
    cell = WorkCell(RANDOMIZED, image_size=16)
    cell.reset("place_empty_cup", record.seed)
    assert json.loads(record.randomization) == json.loads(cell.draw.to_json())


def test_an_expert_that_fails_nearly_always_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def threads(workers: int, **_: object) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(workers)

    monkeypatch.setattr("training.collection.ProcessPoolExecutor", threads)
    monkeypatch.setattr("training.demonstrations.CellRecipe.attempt", lambda *_: None)
    with pytest.raises(DataError, match=r"stack_bowls_two: the expert solved only 0 of 30 .* noise_rad 0.06"):
        collect(SMALL, tmp_path, tasks=("stack_bowls_two",), show_progress=False)
    assert len(read_index(tmp_path).streams[0].skipped) == 30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"randomization": "randomized"}, "randomization 'clean', asked for 'randomized'"),
        ({"seed": 4}, "seed 0, asked for 4"),
        ({"config": replace(SMALL, noise_rad=0.01)}, "noise_rad 0.06, asked for 0.01"),
        ({"config": replace(SMALL, image_size=32)}, "image_size 16, asked for 32"),
    ],
)
def test_other_settings_never_mix_with_a_collection(
    collection: DemonstrationIndex, change: dict, message: str
) -> None:
    before = contents(collection.folder)
    arguments = {"config": SMALL, "tasks": TWO_TASKS, "show_progress": False, **change}
    with pytest.raises(RunFolderError, match=message):
        collect(folder=collection.folder, **arguments)
    assert contents(collection.folder) == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="neither empty nor a collection"):
        collect(SMALL, tmp_path, show_progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": ("place_cup",)}, "unknown task 'place_cup'"),
        ({"randomization": "wild"}, "unknown randomization 'wild'"),
        ({"workers": 0}, "--workers must be at least 1, got 0"),
        ({"seed": -1}, "seed must be in 0..999, got -1"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        collect(SMALL, tmp_path / "new", show_progress=False, **arguments)
    assert not (tmp_path / "new").exists()


def test_a_damaged_index_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    for content, message in (
        ("{", "not an index"),
        ("[]", "not an index"),
        ('{"version": 9, "settings": {}, "streams": []}', "version must be 1, found 9"),
        (
            '{"version": 1, "settings": {}, "streams": [{"task": "a", "companion": null, "seeds": [1], '
            '"steps": [9], "skipped": []}]}',
            "lists a/episode0.hdf5, which is not there",
        ),
        (
            '{"version": 1, "settings": {}, "streams": [{"task": "a", "companion": null, "seeds": 1}]}',
            "not an index .*seeds: Input should be a valid array",
        ),
        ('{"version": 1, "settings": {}, "streams": [{"task": "a"}]}', "not an index .*companion"),
        (
            '{"version": 1, "settings": {}, "streams": [{"tusk": "a"}]}',
            "not an index .*expected no key 'tusk'",
        ),
    ):
        path.write_text(content)
        with pytest.raises(DataError, match=f"index.json: .*{message}"):
            read_index(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match="no such file"):
        read_index(tmp_path)


def test_the_command_tells_mistakes_in_one_sentence_with_exit_code_2(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "training.demonstrations",
        "--out",
        str(tmp_path / "x"),
        "--tasks",
        "cup",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        f"demonstrations.py: error: unknown task 'cup': expected one of {', '.join(TASKS)}"
    ]


def test_no_worker_is_left_behind(collection: DemonstrationIndex) -> None:
    assert collection.streams and multiprocessing.active_children() == []
