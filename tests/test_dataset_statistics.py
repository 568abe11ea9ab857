"""Statistics of a dataset: right, stored beside it, and refused once the data have changed."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from dataset_fixtures import dual_arm, libero_like

from dygro_ros.errors import DataError
from training.dataset_statistics import load, measure, statistics_path, store
from training.formats.detection import open_dataset
from training.formats.lerobot_writer import LeRobotWriter
from training.formats.libero_writer import LiberoFileWriter
from training.formats.robotwin import RobotwinFolderWriter
from training.formats.source import EpisodeSource

RECORDS = [dual_arm(seed, 20) for seed in range(3)]


def make(kind: str, folder: Path) -> EpisodeSource:
    if kind == "libero":
        with LiberoFileWriter(folder / "stove_demo.hdf5") as file:
            file.add(libero_like(0))
            file.add(libero_like(1))
        return open_dataset(folder / "stove_demo.hdf5")
    with (LeRobotWriter if kind == "lerobot" else RobotwinFolderWriter)(folder / kind) as writer:
        for record in RECORDS:
            writer.add(record)
    return open_dataset(folder / kind)


def test_every_measure_is_numpys() -> None:
    found = measure(iter(RECORDS))
    actions = np.concatenate([record.action for record in RECORDS]).astype(float)
    assert found.frames == 60
    for name, value in {
        "min": actions.min(0),
        "max": actions.max(0),
        "mean": actions.mean(0),
        "std": actions.std(0),
        "q01": np.quantile(actions, 0.01, axis=0),
        "q50": np.median(actions, axis=0),
    }.items():
        np.testing.assert_allclose(found.action[name], value)


def test_the_fingerprint_is_the_contents_and_not_the_formats(tmp_path: Path) -> None:
    one, other = make("lerobot", tmp_path), make("robotwin", tmp_path)
    fingerprint = measure(one.episodes(())).fingerprint
    assert fingerprint == measure(other.episodes(())).fingerprint == measure(RECORDS).fingerprint
    changed = [*RECORDS[:2], replace(RECORDS[2], proprio=RECORDS[2].proprio + np.float32(1e-6))]
    renamed = [replace(record, action_names=record.action_names[::-1]) for record in RECORDS]
    for records in (changed, renamed, RECORDS[::-1], RECORDS[:2]):
        assert measure(records).fingerprint != fingerprint


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("robotwin", "robotwin/statistics.json"),
        ("libero", "stove_demo.hdf5.statistics.json"),
        ("lerobot", "lerobot/meta/stats.json"),
    ],
)
def test_they_are_stored_beside_the_data_and_read_back(kind: str, place: str, tmp_path: Path) -> None:
    source = make(kind, tmp_path)
    measured = measure(source.episodes(cameras=()))
    if kind != "lerobot":
        with pytest.raises(DataError, match=r"no statistics .*python -m training\.dataset_info .*--store-st"):
            load(source)
        assert store(source, measured) == tmp_path / place
    assert statistics_path(source) == tmp_path / place
    found = load(open_dataset(source.path))
    assert (found.fingerprint, found.frames) == (measured.fingerprint, measured.frames)
    for name in ("proprio", "action"):
        for key, values in getattr(measured, name).items():
            np.testing.assert_array_equal(getattr(found, name)[key], values)


@pytest.mark.parametrize("kind", ["robotwin", "lerobot"])
def test_stale_ones_are_refused(kind: str, tmp_path: Path) -> None:
    source = make(kind, tmp_path)
    store(source, measure(RECORDS[:2]))
    with pytest.raises(DataError, match=r"stale, .* --store-statistics"):
        load(source)
    store(source, measure(source.episodes(())))
    assert load(source, RECORDS).frames == 60


def test_one_changed_number_in_a_file_makes_them_stale(tmp_path: Path) -> None:
    source = make("robotwin", tmp_path)
    store(source, measure(source.episodes(())))
    with h5py.File(source.name(1), "a") as file:
        file["action/left_arm_joint_states"][3, 2] += 1e-5
    with pytest.raises(DataError, match="stale"):
        load(source)


def test_lerobots_own_without_a_fingerprint_are_judged_by_counts_and_extremes(tmp_path: Path) -> None:
    source = make("lerobot", tmp_path)
    (source.path / "meta/stats_fingerprint.json").unlink()
    assert load(source).fingerprint == ""
    path = source.path / "meta/stats.json"
    for key, value in (("count", [59]), ("max", [9.0] * 14), ("max", [9.0] * 3)):
        stored = json.loads(path.read_text())
        kept, stored["action"][key] = stored["action"][key], value
        path.write_text(json.dumps(stored))
        with pytest.raises(DataError, match="stale"):
            load(source)
        stored["action"][key] = kept
        path.write_text(json.dumps(stored))
    assert load(source).frames == 60


def test_storing_in_a_lerobot_dataset_keeps_its_other_statistics(tmp_path: Path) -> None:
    source = make("lerobot", tmp_path)
    path = source.path / "meta/stats.json"
    before = json.loads(path.read_text())
    store(source, measure(RECORDS))
    assert json.loads(path.read_text()) == before


def test_damage_and_mixed_robots_are_named(tmp_path: Path) -> None:
    source = make("robotwin", tmp_path)
    path = statistics_path(source)
    for text, message in (
        ("{", "cannot be read as JSON"),
        ("[]", "must hold a JSON object, found list"),
        ('{"frames": 3}', "not statistics of a dataset"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            load(source)
    with pytest.raises(DataError, match=r"episode 1: names .* found ee_x"):
        measure([RECORDS[0], libero_like()])
    with pytest.raises(DataError, match="at least one episode"):
        measure([])
