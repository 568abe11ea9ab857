from dataclasses import replace
from pathlib import Path

import pytest

from dygro_ros.errors import CheckpointError, RunFolderError, UserError
from training.config import TrainConfig
from training.ray_session import RayConfig
from training.run_folder import CONFIG_FILE, claim, claimed, fingerprint_hash


@pytest.fixture
def config(tmp_path):
    return replace(TrainConfig(), run=tmp_path / "run").resolved()


def test_a_run_is_not_overwritten_without_being_told_to(config):
    claim(config)
    (config.run / "precious").write_text("x")
    with pytest.raises(RunFolderError, match="--resume, or delete it with --overwrite"):
        claim(config)
    assert (config.run / "precious").exists()
    claim(replace(config, resume=True))
    assert (config.run / "precious").exists()
    claim(replace(config, overwrite=True))
    assert not (config.run / "precious").exists()


def test_a_folder_that_is_no_run_is_never_deleted(config):
    config.run.mkdir()
    (config.run / "thesis.tex").write_text("x")
    with pytest.raises(RunFolderError, match="choose another folder"):
        claim(replace(config, overwrite=True))
    assert (config.run / "thesis.tex").exists()


def test_resuming_with_another_configuration_names_the_field(config):
    claim(config)
    other = replace(config, resume=True, online=replace(config.online, episodes=7))
    with pytest.raises(CheckpointError, match=r"online\.episodes was \d+, is now 7"):
        claim(other)


def test_workers_folder_and_machines_may_change(config):
    claim(config)
    claim(replace(config, resume=True, workers=5))
    claim(replace(config, resume=True, rollouts="ray", learner="ray", ray=RayConfig(address="head:6379")))
    assert fingerprint_hash(config) == fingerprint_hash(replace(config, workers=5, overwrite=True))
    assert fingerprint_hash(config) != fingerprint_hash(replace(config, seed=1))


def test_what_lies_elsewhere_is_the_same_run(config):
    claim(config)
    moved = replace(config, libero=replace(config.libero, folder=Path("/elsewhere")))
    moved = replace(moved, backbone=replace(config.backbone, dinov2="/elsewhere"), resume=True)
    claim(moved)
    assert fingerprint_hash(moved) == fingerprint_hash(config)
    random = replace(config, backbone=replace(config.backbone, random_weights=True))
    assert fingerprint_hash(random) != fingerprint_hash(config)


def refuse(config, *made):
    with pytest.raises(UserError, match="no such number"), claimed(config):
        for name in made:
            (config.run / name).mkdir()
            (config.run / name / "index.json").write_text("x")
        raise UserError("no such number")


def test_a_run_that_was_refused_before_it_made_anything_leaves_no_folder(config):
    refuse(config)
    assert not config.run.exists()
    with claimed(replace(config, seed=1)):
        assert (config.run / CONFIG_FILE).is_file()
    assert (config.run / CONFIG_FILE).is_file()


@pytest.mark.parametrize("resume", [False, True])
def test_a_refused_run_leaves_its_demonstrations_to_the_mended_one(config, resume):
    refuse(config, "demonstrations")
    assert [path.name for path in config.run.iterdir()] == ["demonstrations"]
    mended = replace(config, resume=resume, online=replace(config.online, step_limit=500))
    claim(mended)
    assert (config.run / "demonstrations" / "index.json").is_file()
    claim(replace(mended, resume=True))
    with pytest.raises(CheckpointError, match=r"online\.step_limit was 500, is now None"):
        claim(replace(config, resume=True))


def test_a_refused_run_is_overwritten_when_told_to(config):
    refuse(config, "demonstrations")
    claim(replace(config, overwrite=True))
    assert [path.name for path in config.run.iterdir()] == [CONFIG_FILE]


def test_a_run_that_fails_later_or_otherwise_keeps_its_folder(config):
    refuse(config, "demonstrations", "stage_one")
    assert (config.run / CONFIG_FILE).is_file()
    claim(replace(config, resume=True))
    other = replace(config, run=config.run.with_name("other"))
    with pytest.raises(KeyboardInterrupt), claimed(other):
        raise KeyboardInterrupt
    claim(replace(other, resume=True))


def test_resuming_nothing_is_refused(config):
    with pytest.raises(RunFolderError, match="holds no run"):
        claim(replace(config, resume=True))
    assert not (config.run / CONFIG_FILE).exists()


def test_a_damaged_configuration_is_named(config):
    claim(config)
    (config.run / CONFIG_FILE).write_text('{"seed": ')
    with pytest.raises(CheckpointError, match=r"config\.json is not JSON"):
        claim(replace(config, resume=True))
