"""The preset `base` from its command line to a frozen policy, on tiny checkpoints."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from backbone_fixtures import WEIGHTS, write_checkpoints
from safetensors.torch import load_file
from stage_one_processes import demonstrations
from vision_language_fixtures import PADDING, TEXTS

from dygro_ros.errors import DependencyError, UserError
from dygro_ros.layout import JOINT_LOWER, JOINT_UPPER
from models.base_policy import VisionLanguageConfig
from sim2real.robotwin.installation import Installation
from sim2real.robotwin.world import RobotwinWorld
from training import stages
from training.backbone_weights import BackboneConfig
from training.base_preset import BASE_PRETRAIN, codec_for
from training.config import TrainConfig, preset
from training.dataset import FrameDataset
from training.demonstrations import DemonstrationConfig
from training.evaluation_config import EvaluationConfig
from training.frozen_base import FrozenBase, export_frozen_base
from training.head_refinement import HeadRefinementConfig
from training.policy_folder import codec_in
from training.robotwin_config import RobotwinConfig
from training.run_folder import fingerprint
from training.stage_one import load_base_policy, load_config
from training.whole_run import parse

SMALL = (
    "--device", "cpu", "--network.image-size", "28", "--network.heads", "2", "--network.head-width", "16",
)  # fmt: skip
OPTIONS = (
    "--preset", "base", *SMALL, "--demonstrations.image-size", "28",
    "--network.action-queries", "5", "--network.chunk", "4",
)  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    folder = tmp_path_factory.mktemp("preset")
    sources = write_checkpoints(folder)
    return parse([*OPTIONS, *_named(sources), "--run", str(folder / "run")])


def _named(sources: BackboneConfig) -> list[str]:
    return [f"--backbone.{tower}={getattr(sources, tower)}" for tower in ("dinov2", "siglip", "qwen")]


def test_sizes_come_from_the_weights_and_options_from_the_preset(config: TrainConfig) -> None:
    network = config.network
    assert isinstance(network, VisionLanguageConfig)
    assert (network.width, network.layers, network.padding_token) == (32, 2, PADDING)
    assert (network.action_queries, network.chunk) == (5, 4)
    assert config.sft.lora_rank == 64
    assert config.pretrain == replace(BASE_PRETRAIN, seed=0)
    assert json.loads(json.dumps(fingerprint(config))) == fingerprint(config)


def test_without_weights_the_preset_says_which_command_fetches_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="hf download facebook/dinov2-large --include"):
        preset("base").resolved()
    with pytest.raises(UserError, match="hf download Qwen/Qwen2"):
        parse(["--preset", "base", "--backbone.random-weights"])


def test_adapters_without_their_library_are_refused_before_training(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine_tuning = replace(config, method="sft")
    assert fine_tuning.resolved().sft.lora_rank == 64
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(DependencyError, match=r"--sft.lora-rank 64 needs peft: pip install .*\[base\]'"):
        fine_tuning.resolved()
    config.resolved()  # whose method needs none
    adapted = replace(config, pretrain=replace(config.pretrain, lora_rank=8))
    with pytest.raises(DependencyError, match=r"--pretrain.lora-rank 8 needs peft"):
        adapted.resolved()
    replace(adapted, base_run=Path("runs/base")).resolved()  # where Stage I is over
    with pytest.raises(UserError, match=r"--pretrain.lora-rank must be at least 0, got -1"):
        replace(config, pretrain=replace(config.pretrain, lora_rank=-1)).resolved()


@pytest.mark.parametrize("name", ["robotwin", "libero"])
def test_the_preset_trains_in_another_world_without_a_word_of_demonstrations(
    config: TrainConfig, tmp_path: Path, name: str
) -> None:
    usual = preset("base").demonstrations
    assert usual != DemonstrationConfig()
    elsewhere = replace(
        config, world=name, tasks=(), demonstrations=usual, evaluation=EvaluationConfig(episodes=50)
    )
    if name == "robotwin":
        limits = tuple(JOINT_LOWER.tolist()), tuple(JOINT_UPPER.tolist())
        world = RobotwinWorld(Installation(tmp_path, tmp_path), ("lift_pot",), *limits)
        elsewhere = replace(elsewhere, robotwin=RobotwinConfig(measured=world))
    else:
        elsewhere = replace(elsewhere, network=replace(config.network, actions=7, proprio=8))
    elsewhere.resolved()
    with pytest.raises(UserError, match=f"--demonstrations says nothing in the world '{name}'"):
        replace(elsewhere, demonstrations=replace(usual, episodes=50)).resolved()


def test_the_command_for_libero_on_the_page_has_the_network_and_the_residual_of_that_preset(
    config: TrainConfig,
) -> None:
    page = (Path(__file__).parents[1] / "docs/base_preset.md").read_text(encoding="utf-8")
    command = page[page.index("--preset base --world libero") :].partition("```")[0]
    own = parse([*command.replace("\\\n", " ").split(), *_named(config.backbone), *SMALL])
    usual = preset("libero")
    assert own.tasks == usual.tasks and own.online.step_limit == usual.online.step_limit
    for name in ("actions", "proprio", "cameras", "chunk"):
        assert getattr(own.network, name) == getattr(usual.network, name)
    assert own.residual == usual.residual
    assert own.off_policy.learner.anchor_weight == usual.off_policy.learner.anchor_weight


def test_weights_for_a_network_that_takes_none_are_refused() -> None:
    with pytest.raises(UserError, match="--backbone options are for --preset base"):
        parse(["--backbone.qwen", "somewhere"])


def test_a_precision_that_the_device_cannot_check_is_refused_before_training(config: TrainConfig) -> None:
    with pytest.raises(UserError, match="--precision bfloat16 needs --device cuda"):
        replace(config, precision="bfloat16").resolved()
    assert replace(config, precision="float16").resolved().precision == "float16"
    assert replace(config, precision="bfloat16", device="cuda").resolved().precision == "bfloat16"


def test_stage_one_starts_from_the_pretrained_weights_and_leaves_a_policy_with_its_tokenizer(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = codec_for(config.network, config.backbone)
    episodes = [replace(episode, images=episode.images[:, :1]) for episode in demonstrations()]
    monkeypatch.setattr(stages, "_load", lambda *_: FrameDataset(episodes, 4, codec=codec))
    one_step = replace(
        config.pretrain,
        steps=1,
        batch_size=4,
        pretrained_rate=0.0,
        weight_decay=0.0,
        mixed_precision=False,
        head_refinement=HeadRefinementConfig(steps=1, batch_size=4),
    )
    run = replace(config, pretrain=one_step)
    policy = stages.make_base_policy(run, [])
    name = "layers.0.mlp.up_proj.weight"
    ours = policy.backbone.language.state_dict()[name]
    wanted = load_file(Path(config.backbone.qwen) / WEIGHTS)[f"model.{name}"]
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-7)

    folder = run.run / stages.STAGE_ONE
    assert load_config(folder) == VisionLanguageConfig(
        **{name: getattr(config.network, name) for name in VisionLanguageConfig.__dataclass_fields__}
    )
    again, read = load_base_policy(folder), codec_in(folder, load_config(folder))
    tokens = torch.from_numpy(read.encode(TEXTS[0]))[None]
    images = torch.from_numpy(episodes[0].images[:1])
    proprio = torch.from_numpy(episodes[0].proprio[:1])
    assert torch.equal(again(images, tokens, proprio), policy(images, tokens, proprio))

    export_frozen_base(folder)
    frozen = FrozenBase(folder)
    with torch.no_grad():
        stage = again.encode(images, tokens, proprio)
    answers = frozen(images[0].numpy(), frozen.codec.encode(TEXTS[0]), proprio[0].numpy())
    for found, expected in zip(answers, (stage.z_mean.flatten(1), again.base_chunk(stage.z_mean),
                                         stage.task_features), strict=True):  # fmt: skip
        np.testing.assert_allclose(found, expected[0].detach().numpy(), atol=1e-4)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
