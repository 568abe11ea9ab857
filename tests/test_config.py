from dataclasses import asdict, replace
from pathlib import Path

import pytest

from dygro_ros.errors import UserError
from models.base_policy import NanoConfig
from sim2real.cell.tasks import TASKS
from sim2real.libero.experts import EXPERT_TASKS
from training.config import (
    LIBERO_TASKS,
    METHODS,
    PRESETS,
    EvaluationConfig,
    TrainConfig,
    as_json,
    preset,
)
from training.demonstrations import DemonstrationConfig
from training.head_refinement import HeadRefinementConfig
from training.libero_demonstrations import LiberoConfig
from training.methods.sft import SftConfig
from training.online import OnlineConfig
from training.pretrainer import PretrainConfig
from training.ray_session import RayConfig
from training.recorded_demonstrations import RecordedConfig
from training.whole_run import parse


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
        ({"tasks": ("place_empty_cup", "place_empty_cup")}, "each task once"),
        ({"randomization": "wild"}, "wild"),
        ({"resume": True, "overwrite": True}, "exclude each other"),
        ({"workers": 0}, "--workers must be at least 1, got 0"),
        ({"online": OnlineConfig(step_limit=0)}, "--online.step-limit must be at least 1, got 0"),
        ({"evaluation": EvaluationConfig(episodes=0)}, "--evaluation.episodes must be in 1..100000, got 0"),
        ({"pretrain": PretrainConfig(checkpoint_every=0)}, "--pretrain.checkpoint-every must be at least 1"),
        ({"pretrain": PretrainConfig(batch_size=1)}, "--pretrain.batch-size must be at least 2, got 1"),
        (
            {"pretrain": PretrainConfig(head_refinement=HeadRefinementConfig(log_every=0))},
            "--pretrain.head-refinement.log-every must be at least 1, got 0",
        ),
        ({"online": OnlineConfig(warmup_episodes=900_001)}, "--online.warmup-episodes must be in 1..900000"),
        ({"online": OnlineConfig(warmup_episodes=0)}, "--online.warmup-episodes must be in 1..900000, got 0"),
        ({"online": OnlineConfig(validation_episodes=0)}, "--online.validation-episodes must be in 1.."),
        ({"online": OnlineConfig(checkpoint_every=0)}, "--online.checkpoint-every must be at least 1, got 0"),
        ({"evaluation": EvaluationConfig(episodes=200_000)}, "--evaluation.episodes must be in 1..100000"),
        ({"evaluation": EvaluationConfig(seed=1000)}, "--evaluation.seed must be in 0..999, got 1000"),
        ({"seed": 1000}, "--seed must be in 0..999, got 1000"),
        ({"demonstrations": DemonstrationConfig(episodes=-1)}, "--demonstrations.episodes must be at least"),
        ({"libero": LiberoConfig(episodes=50)}, "--libero says nothing in the world 'cell'"),
        (
            {
                "recorded": RecordedConfig(Path("data")),
                "demonstrations": DemonstrationConfig(episodes=50),
            },
            "--demonstrations says nothing beside --recorded.folder",
        ),
        ({"recorded": RecordedConfig(rate_hz=16.667)}, "--recorded.rate-hz 16.667 is the rate of recorded"),
        (
            {"recorded": RecordedConfig(Path("data"), rate_hz=float("inf"))},
            "--recorded.rate-hz must be a finite number above 0, got inf",
        ),
        ({"ray": RayConfig(address="head")}, "--ray.address must be HOST:PORT"),
        ({"ray": RayConfig(address="head:6379")}, "--ray.address head:6379 needs --rollouts ray"),
        ({"rollouts": "ray", "device": "cuda"}, "needs --ray.worker-gpus above 0, such as 0.25"),
        (
            {"rollouts": "ray", "ray": RayConfig(worker_gpus=0.25)},
            "--ray.worker-gpus 0.25 needs --rollouts ray and --device cuda, got --rollouts ray and",
        ),
        ({"precision": "bfloat16", "device": "cuda"}, "--precision bfloat16 is for --preset base"),
        ({"precision": "float16"}, "--precision float16 is for --preset base"),
        ({"pretrain": PretrainConfig(pretrained_rate=0.5)}, "--pretrain.pretrained-rate 0.5 is for --preset"),
        ({"pretrain": PretrainConfig(lora_rank=8)}, "--pretrain.lora-rank 8 is for --preset base"),
        ({"sft": SftConfig(lora_rank=8)}, "--sft.lora-rank 8 is for --preset base"),
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


def test_tasks_that_are_not_named_are_all_of_the_world():
    assert TrainConfig().resolved().tasks == TASKS
    libero = replace(
        TrainConfig(),
        world="libero",
        network=NanoConfig(actions=7, proprio=8),
        evaluation=EvaluationConfig(episodes=50),
    )
    assert libero.resolved().tasks == LIBERO_TASKS


def test_the_help_says_which_of_liberos_tasks_are_meant(capsys):
    assert (len(LIBERO_TASKS), len(EXPERT_TASKS)) == (3, 5) and set(LIBERO_TASKS) < set(EXPERT_TASKS)
    with pytest.raises(SystemExit):
        parse(["--help"])
    said = " ".join(capsys.readouterr().out.replace("│", "").split())
    assert "in LIBERO three of the five with experts" in said


def test_what_a_preset_sets_itself_says_nothing_against_another_world():
    in_the_cell = replace(
        preset("libero"), world="cell", tasks=(), network=NanoConfig(), evaluation=EvaluationConfig()
    )
    assert in_the_cell.resolved().tasks == TASKS


def test_an_unknown_preset_is_named():
    with pytest.raises(UserError, match="unknown preset 'nanoo'"):
        preset("nanoo")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"evaluation": EvaluationConfig(episodes=51)}, "--evaluation.episodes 50 at most, got 0 and 51"),
        ({"evaluation": EvaluationConfig(episodes=50, seed=1)}, "--evaluation.seed must be 0"),
        ({"randomization": "randomized"}, "--randomization says nothing in the world 'libero'"),
        ({"demonstrations": DemonstrationConfig(episodes=50)}, "--demonstrations says nothing in the world"),
        (
            {"recorded": RecordedConfig(Path("data")), "libero": LiberoConfig(episodes=7)},
            "--libero.episodes and --libero.noise say nothing beside --recorded.folder",
        ),
        ({"network": NanoConfig(cameras=2)}, "--network.actions must be 7 in the world 'libero', got 14"),
        ({"network": NanoConfig(actions=7, cameras=2)}, "--network.proprio must be 8"),
        ({"network": NanoConfig(actions=7, proprio=8, cameras=3)}, "1 (agentview) or 2 (agentview, eye_in"),
    ],
)
def test_mistakes_in_another_world_are_named_before_anything_is_trained(change, words):
    with pytest.raises(UserError) as caught:
        replace(preset("libero"), **change).resolved()
    assert words in str(caught.value)
