"""A base run of another world, preset or network is refused with what differs and how to agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from stage_one_fixtures import SMALL, dual_arm_space
from vision_language_fixtures import tiny_codec, tiny_policy

from dygro_ros.errors import CheckpointError, UserError
from models.action_space import ActionSpace
from models.base_policy import BasePolicy
from training import whole_run
from training.base_run import check_base_run
from training.config import TrainConfig
from training.demonstrations import DemonstrationConfig
from training.stage_one import save_base_policy


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    """A run that fits the base run beside it."""
    save_base_policy(tmp_path / "base" / "stage_one", BasePolicy(SMALL, dual_arm_space()))
    demonstrations = replace(DemonstrationConfig(), image_size=SMALL.image_size)
    return replace(
        TrainConfig(),
        run=tmp_path / "run",
        base_run=tmp_path / "base",
        network=replace(SMALL, width=64),  # the base run's own is used
        demonstrations=demonstrations,
    ).resolved()


def test_a_base_run_that_fits_is_taken_and_none_is_needed(config: TrainConfig) -> None:
    check_base_run(config)
    check_base_run(replace(config, base_run=None))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"chunk": 9}, r"chunk is 4 there and 9 here \(say --network.chunk 4, or choose"),
        (
            {"image_size": 64},
            "image_size is 32 there and 64 here "
            r"\(say --network.image-size 32 --demonstrations.image-size 32, or choose another base run\)",
        ),
        (
            {"cameras": 3},
            r"cameras is 1 there and 3 here \(say --network.cameras 1 --demonstrations.no-wrist-cameras, or",
        ),
        ({"chunk": 9, "image_size": 64}, "chunk is 4 there.*; image_size is 32 there"),
    ],
)
def test_other_sizes_are_named_with_the_options_that_agree(
    config: TrainConfig, change: dict[str, int], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        check_base_run(replace(config, network=replace(config.network, **change)))


def test_a_base_run_of_another_world_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    arm = replace(SMALL, actions=7, proprio=8)
    save_base_policy(tmp_path / "arm" / "stage_one", BasePolicy(arm, ActionSpace.blank(7, 8)))
    says = r"actions is 7 there and 14 here \(it was trained in another world than cell: choose another base"
    with pytest.raises(UserError, match=says):
        check_base_run(replace(config, base_run=tmp_path / "arm"))


def test_a_base_run_of_another_preset_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    save_base_policy(tmp_path / "towers" / "stage_one", tiny_policy(), tiny_codec())
    says = r"the backbone is pretrained there and from scratch here \(say --preset base"
    with pytest.raises(UserError, match=says):
        check_base_run(replace(config, base_run=tmp_path / "towers"))


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda config: replace(config, network=replace(config.network, chunk=9)), UserError),
        (lambda config: replace(config, base_run=config.run), CheckpointError),
    ],
)
def test_the_command_refuses_it_before_the_run_begins(
    config: TrainConfig,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[TrainConfig], TrainConfig],
    error: type[UserError],
) -> None:
    monkeypatch.setattr(whole_run, "claimed", lambda _: pytest.fail("the run has begun"))
    with pytest.raises(error):
        whole_run.train(spoil(config))
