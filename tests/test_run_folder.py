from dataclasses import replace
from pathlib import Path

import pytest

from dygro_ros.errors import CheckpointError, RunFolderError
from training.config import TrainConfig
from training.ray_session import RayConfig
from training.run_folder import CONFIG_FILE, claim, fingerprint_hash


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


def test_resuming_nothing_is_refused(config):
    with pytest.raises(RunFolderError, match="holds no run"):
        claim(replace(config, resume=True))
    assert not (config.run / CONFIG_FILE).exists()


def test_a_damaged_configuration_is_named(config):
    claim(config)
    (config.run / CONFIG_FILE).write_text('{"seed": ')
    with pytest.raises(CheckpointError, match=r"config\.json is not JSON"):
        claim(replace(config, resume=True))
