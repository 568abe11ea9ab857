from dataclasses import asdict, replace

import pytest

from dygro_ros.errors import UserError
from models.base_policy import NanoConfig
from training.config import METHODS, PRESETS, TrainConfig, as_json, preset
from training.demonstrations import DemonstrationConfig
from training.ray_session import RayConfig


def test_every_preset_resolves():
    for name in PRESETS:
        if name == "base":  # needs weights: tests/test_base_preset.py
            continue
        config = preset(name).resolved()
        assert config.preset == name
        assert as_json(asdict(config))["run"].startswith("runs/")


def test_the_run_seed_reaches_stage_one():
    assert replace(TrainConfig(), seed=7).resolved().pretrain.seed == 7


@pytest.mark.parametrize("method", METHODS)
def test_only_dygro_routes(method):
    config = replace(TrainConfig(), method=method).resolved()
    assert (config.residual.experts > 1) == (method in ("dygro", "sft"))
    if method == "residual":
        assert config.off_policy.learner.residual.experts == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tasks": ("place_cup",)}, "unknown task 'place_cup' in --tasks (did you mean 'place_empty_cup'?)"),
        ({"tasks": ()}, "--tasks"),
        ({"tasks": ("place_empty_cup", "place_empty_cup")}, "each task once"),
        ({"randomization": "wild"}, "wild"),
        ({"resume": True, "overwrite": True}, "exclude each other"),
        ({"workers": 0}, "--workers must be at least 1, got 0"),
        ({"ray": RayConfig(address="head")}, "--ray.address must be HOST:PORT"),
        ({"ray": RayConfig(address="head:6379")}, "--ray.address head:6379 needs --rollouts ray"),
        ({"network": NanoConfig(cameras=2)}, "--network.cameras must be 1 (head_camera) or 3"),
        ({"network": NanoConfig(cameras=3)}, "--network.cameras 3 needs --demonstrations.wrist-cameras"),
        (
            {"demonstrations": DemonstrationConfig(wrist_cameras=True)},
            "--network.cameras 1 needs --demonstrations.no-wrist-cameras",
        ),
        (
            {"demonstrations": DemonstrationConfig(image_size=64)},
            "--demonstrations.image-size 64 and --network.image-size 128 must be equal",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_named(change, words):
    with pytest.raises(UserError) as caught:
        replace(TrainConfig(), **change).resolved()
    assert words in str(caught.value)


def test_an_unknown_preset_is_named():
    with pytest.raises(UserError, match="unknown preset 'nanoo'"):
        preset("nanoo")
