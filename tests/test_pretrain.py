import json
import math
import weakref
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from stage_one_fixtures import SMALL, episodes
from stage_one_processes import CONFIG, demonstrations
from torch import Tensor
from vision_language_fixtures import TINY, tiny_codec

from dygro_ros.errors import CheckpointError, DataError
from models.base_policy import BasePolicy
from models.information import derangement
from training.augmentation import jitter_colours
from training.checkpoint import load_state
from training.dataset import FrameDataset
from training.head_refinement import HeadRefinementConfig
from training.monitor import NotFiniteError
from training.pretrain import CHECKPOINT_FOLDER, fingerprint_of, pretrain
from training.pretrainer import PretrainConfig, Pretrainer, learning_rate

QUICK = PretrainConfig(
    steps=8,
    batch_size=8,
    warmup_steps=2,
    checkpoint_every=4,
    log_every=3,
    critic_width=16,
    head_refinement=HeadRefinementConfig(steps=3, batch_size=8, log_every=2),
)


@pytest.fixture(scope="module")
def dataset() -> FrameDataset:
    return FrameDataset(episodes(6), SMALL.chunk)


def weights(policy: BasePolicy) -> dict[str, Tensor]:
    return dict(policy.state_dict())


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(v, second[k]) for k, v in first.items())


def test_the_policy_to_start_from_is_given_up_once_it_is_copied(
    dataset: FrameDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[BasePolicy]] = []

    def fresh() -> BasePolicy:
        policy = BasePolicy(SMALL, dataset.action_space())
        policy.__dict__["itself"] = policy  # as frames of a failed import hold the first one
        held.append(weakref.ref(policy))
        return policy

    def step(self: Pretrainer) -> dict[str, float]:
        raise Killed("held" if held[0]() is not None else "given up")

    monkeypatch.setattr(Pretrainer, "step", step)
    with pytest.raises(Killed, match="given up"):
        pretrain(QUICK, SMALL, dataset, tmp_path, start=fresh())


def test_the_head_is_refined_without_what_joint_training_needed(
    dataset: FrameDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[BasePolicy]] = []
    copied = Pretrainer.averaged_policy

    def averaged(self: Pretrainer) -> BasePolicy:
        held.append(weakref.ref(self.policy))
        return copied(self)

    def refine(*_arguments: object) -> None:
        raise Killed("held" if held[0]() is not None else "given up")

    monkeypatch.setattr(Pretrainer, "averaged_policy", averaged)
    monkeypatch.setattr("training.pretrain._refine", refine)
    with pytest.raises(Killed, match="given up"):
        pretrain(QUICK, SMALL, dataset, tmp_path)


def trainer(dataset: FrameDataset, config: PretrainConfig = QUICK) -> Pretrainer:
    torch.manual_seed(config.seed)
    return Pretrainer(config, SMALL, dataset)


class Killed(RuntimeError):
    pass


@pytest.mark.parametrize("mixed_precision", [False, True])
@pytest.mark.parametrize("head", ["l1", "flow"])
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_last_bit(
    dataset: FrameDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str, mixed_precision: bool
) -> None:
    config = replace(QUICK, mixed_precision=mixed_precision)
    network = replace(SMALL, head=head)
    whole = pretrain(config, network, dataset, tmp_path / "whole")

    step = Pretrainer.step
    with monkeypatch.context() as patch:

        def killed(self: Pretrainer) -> dict[str, float]:
            if self.steps_done == 6:  # two steps behind the checkpoint
                raise Killed
            return step(self)

        patch.setattr(Pretrainer, "step", killed)
        with pytest.raises(Killed):
            pretrain(config, network, dataset, tmp_path / "killed")
    torch.manual_seed(99)  # what else the process draws must not matter
    resumed = pretrain(config, network, dataset, tmp_path / "killed", resume=True)
    assert equal(weights(whole), weights(resumed))
    logs = [(tmp_path / name / "pretrain.jsonl").read_text() for name in ("whole", "killed")]
    assert logs[0] == logs[1]
    # Both optimisers, critic, averages, sampler and generator as well, not only the policy:
    fingerprint = fingerprint_of(config, network, dataset)
    states = [
        load_state(tmp_path / n / CHECKPOINT_FOLDER, fingerprint=fingerprint) for n in ("whole", "killed")
    ]
    assert states[0][1] == states[1][1]
    for name in ("policy", "average", "critic", "objects", "objective"):
        assert equal(states[0][0][name], states[1][0][name]), name
    for name in ("policy_optimizer", "critic_optimizer"):
        for index, slots in states[0][0][name]["moments"].items():
            assert equal(slots, states[1][0][name]["moments"][index])


def test_the_same_seed_gives_the_same_policy_and_another_seed_another(
    dataset: FrameDataset, tmp_path: Path
) -> None:
    config = replace(QUICK, steps=2)
    first, same, other = (
        pretrain(replace(config, seed=seed), SMALL, dataset, tmp_path / str(i))
        for i, seed in enumerate((0, 0, 1))
    )
    assert equal(weights(first), weights(same))
    assert not equal(weights(first), weights(other))


def test_the_global_generator_is_left_as_it_was(dataset: FrameDataset, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    pretrain(replace(QUICK, steps=1), SMALL, dataset, tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_a_checkpoint_of_another_configuration_names_the_field(dataset: FrameDataset, tmp_path: Path) -> None:
    pretrain(QUICK, SMALL, dataset, tmp_path)
    with pytest.raises(CheckpointError, match=r"pretrain\.lambda_ib is 0\.001 there, 0\.5 here"):
        pretrain(replace(QUICK, lambda_ib=0.5), SMALL, dataset, tmp_path, resume=True)
    with pytest.raises(CheckpointError, match=r"network\.keypoints"):
        pretrain(QUICK, replace(SMALL, keypoints=7), dataset, tmp_path, resume=True)
    with pytest.raises(CheckpointError, match=r"demonstrations\."):
        pretrain(QUICK, SMALL, FrameDataset(episodes(5), SMALL.chunk), tmp_path, resume=True)


def test_a_finished_run_is_not_trained_again(dataset: FrameDataset, tmp_path: Path) -> None:
    first = pretrain(QUICK, SMALL, dataset, tmp_path)
    log = (tmp_path / "pretrain.jsonl").read_text()
    again = pretrain(QUICK, SMALL, dataset, tmp_path, resume=True)
    assert equal(weights(first), weights(again))
    assert (tmp_path / "pretrain.jsonl").read_text() == log


def test_training_learns_and_the_record_says_so(dataset: FrameDataset, tmp_path: Path) -> None:
    config = replace(QUICK, steps=80, checkpoint_every=1000, log_every=10)
    policy = pretrain(config, SMALL, dataset, tmp_path)
    records = [json.loads(line) for line in (tmp_path / "pretrain.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records[-2:]] == [82, 83]  # the head's own steps follow
    records = records[:-2]
    assert records[-1]["step"] == 80
    assert records[-1]["cloning_loss"] < 0.7 * records[0]["cloning_loss"]
    assert records[-1]["objects_loss"] < 0.8 * records[0]["objects_loss"]
    assert not policy.training and not any(p.requires_grad for p in policy.parameters())


def test_the_result_is_the_average_of_the_weights(dataset: FrameDataset) -> None:
    run = trainer(dataset, replace(QUICK, average_decay=0.5))
    expected = {name: value.detach().clone() for name, value in run.policy.named_parameters()}
    for _ in range(3):
        step = run.steps_done
        run.step()
        decay = min(0.5, (1 + step) / (10 + step))
        for name, value in run.policy.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * value.detach()
    for name, value in run.averaged_policy().named_parameters():
        assert torch.allclose(value, expected[name], atol=1e-6)


def test_the_critic_climbs_the_bound_and_the_encoder_descends_it(dataset: FrameDataset) -> None:
    run = trainer(dataset, replace(QUICK, critic_learning_rate=3e-3))
    generator = torch.Generator().manual_seed(0)
    observation = torch.randn(64, run.policy.task_feature_size, generator=generator)
    z = observation[:, : SMALL.z_tokens * SMALL.z_dim].reshape(64, SMALL.z_tokens, SMALL.z_dim)
    permutation = derangement(64, generator)
    bounds = [run.critic_step(observation, z, permutation) for _ in range(100)]
    assert bounds[-1] > bounds[0] + 0.5
    z = z.clone().requires_grad_()
    bound = run.bound_for_encoder(observation, z, permutation)
    (gradient,) = torch.autograd.grad(bound, z)
    moved = run.bound_for_encoder(observation, z - 0.05 * gradient / gradient.norm(), permutation)
    assert moved.item() < bound.item()


def test_the_encoder_s_bound_does_not_train_the_critic(dataset: FrameDataset) -> None:
    run = trainer(dataset)
    run.step()
    run.critic.zero_grad()
    z = torch.randn(8, SMALL.z_tokens, SMALL.z_dim, requires_grad=True)
    observation = torch.randn(8, run.policy.task_feature_size)
    run.bound_for_encoder(observation, z, derangement(8)).backward()
    assert z.grad is not None
    assert all(parameter.grad is None for parameter in run.critic.parameters())
    assert all(parameter.requires_grad for parameter in run.critic.parameters())


def test_the_bottleneck_lowers_the_information_that_z_keeps(dataset: FrameDataset) -> None:
    kept = {}
    for weight in (1e-9, 1.0):
        # Shorter, or with a narrower critic, the bound stays at its start, and rounding decides.
        config = replace(
            QUICK,
            steps=200,
            lambda_ib=weight,
            critic_learning_rate=3e-3,
            critic_width=32,
            batch_size=16,
            learning_rate=1e-3,
        )
        run = trainer(dataset, config)
        records = [run.step() for _ in range(config.steps)]
        kept[weight] = sum(r["critic_bound_nat"] for r in records[-20:]) / 20
    assert kept[1e-9] > 0.2
    assert kept[1.0] < 0.3 * kept[1e-9]


def test_without_the_bottleneck_there_is_no_critic_to_train(dataset: FrameDataset) -> None:
    run = trainer(dataset, replace(QUICK, lambda_ib=0.0))
    before = {name: value.clone() for name, value in run.critic.state_dict().items()}
    assert "information_nat" not in run.step()
    assert equal(before, dict(run.critic.state_dict()))


def test_positions_need_simulated_demonstrations() -> None:
    plain = FrameDataset(episodes(3, privileged=False), SMALL.chunk)
    with pytest.raises(DataError, match="set lambda_objects to 0"):
        trainer(plain)
    assert math.isfinite(trainer(plain, replace(QUICK, lambda_objects=0.0)).step()["cloning_loss"])


def test_what_is_not_finite_is_named(dataset: FrameDataset, tmp_path: Path) -> None:
    run = trainer(dataset)
    with torch.no_grad():
        run.policy.head.network.leave.weight[0, 0] = math.nan
    with pytest.raises(NotFiniteError, match="cloning_loss is nan at step 0"):
        run.step()
    run = trainer(dataset)
    run.policy.fusion.queries.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(NotFiniteError, match=r"gradient fusion\.queries"):
        run.step()
    assert not (tmp_path / CHECKPOINT_FOLDER).exists()


def test_pictures_of_another_size_are_refused(dataset: FrameDataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\(1, 64, 64, 3\).*\(1, 32, 32, 3\)"):
        pretrain(QUICK, replace(SMALL, image_size=64), dataset, tmp_path)


def test_colour_jitter_changes_colours_only() -> None:
    torch.manual_seed(0)
    images = torch.full((64, 1, 4, 4, 3), 128, dtype=torch.uint8)
    images[:, :, :2] = 64
    jittered = jitter_colours(images, QUICK.brightness, QUICK.contrast, QUICK.channel_gain)
    assert jittered.dtype == torch.float32 and jittered.shape == images.shape
    assert float(jittered.min()) >= 0.0 and float(jittered.max()) <= 1.0
    # One affine map a channel and picture: flat areas stay flat, edges stay where they are.
    assert torch.equal(jittered[:, :, :2], jittered[:, :, :1, :1].expand(-1, -1, 2, 4, -1))
    assert float(jittered[:, 0, 3, 3].std(dim=0).min()) > 0.01
    none = jitter_colours(images, 0.0, 0.0, 0.0)
    assert torch.allclose(none, images.float() / 255.0, atol=1e-6)


def test_the_rate_warms_up_and_falls() -> None:
    config = replace(QUICK, steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) > 0.95
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.02


def test_the_configuration_is_plain_data() -> None:
    assert json.loads(json.dumps(asdict(QUICK))) == asdict(QUICK)


def test_pretrained_towers_learn_at_their_share_of_the_rate() -> None:
    dataset = FrameDataset(demonstrations(), TINY.chunk, codec=tiny_codec())
    run = Pretrainer(replace(CONFIG, pretrained_rate=0.0, weight_decay=0.0), TINY, dataset)
    towers = [p.clone() for part in run.policy.backbone.pretrained_parts() for p in part.parameters()]
    queries, projector = run.policy.backbone.action_queries.clone(), run.policy.backbone.vision.projector
    first = projector[0].weight.clone()
    run.step()
    after = [p for part in run.policy.backbone.pretrained_parts() for p in part.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(towers, after, strict=True))
    assert not torch.equal(run.policy.backbone.action_queries, queries)
    assert not torch.equal(projector[0].weight, first)
