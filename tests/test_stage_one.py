import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from stage_one_fixtures import dual_arm_space

from dygro_ros.errors import CheckpointError, DataError
from models.base_policy import BasePolicy, NanoConfig
from sim2real.cell.tasks import TASKS
from training import stage_one
from training.episode_file import EpisodeRecord
from training.stage_one import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    encode_demonstrations,
    load_action_space,
    load_base_policy,
    save_base_policy,
)

NETWORK = NanoConfig(
    image_size=16, width=16, layers=1, heads=2, stem_channels=(4, 4, 4), keypoints=4, keypoint_features=2,
    z_tokens=2, z_dim=4, chunk=5, head_width=16, head_blocks=1,
)  # fmt: skip


@pytest.fixture
def policy():
    torch.manual_seed(0)
    return BasePolicy(NETWORK, dual_arm_space()).eval()


def record(frames=13, **changes):
    rng = np.random.default_rng(0)
    # The third joint of an arm is never above 0.
    side = np.where(np.isin(np.arange(14), (2, 9)), -1.0, 1.0)
    values = EpisodeRecord(
        instructions=("place the cup",), rate_hz=25.0,
        proprio=(side * rng.uniform(0.1, 0.9, (frames, 14))).astype(np.float32),
        action=(side * rng.uniform(0.1, 0.9, (frames, 14))).astype(np.float32),
        cameras=("head_camera",),
        images=rng.integers(0, 255, (frames, 1, 16, 16, 3), dtype=np.uint8),
        privileged=rng.standard_normal((frames, 83)).astype(np.float32),
        task="place_empty_cup", seed=5,
    )  # fmt: skip
    return replace(values, **changes)


def test_a_policy_comes_back_equal(policy, tmp_path):
    save_base_policy(tmp_path, policy)
    back = load_base_policy(tmp_path)
    assert back.config == policy.config
    for name, value in policy.state_dict().items():
        assert torch.equal(value, back.state_dict()[name])
    assert not any(parameter.requires_grad for parameter in back.parameters())


def test_a_colleague_may_read_what_the_users_mask_allows(policy, tmp_path):
    save_base_policy(tmp_path, policy)
    (tmp_path / "any").write_bytes(b"")
    for name in (WEIGHTS_FILE, CONFIG_FILE):
        assert (tmp_path / name).stat().st_mode == (tmp_path / "any").stat().st_mode


def test_damage_is_named(policy, tmp_path):
    with pytest.raises(CheckpointError, match="expected the file"):
        load_base_policy(tmp_path)
    save_base_policy(tmp_path, policy)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    (tmp_path / CONFIG_FILE).write_text(json.dumps({**config, "widthh": 3}))
    with pytest.raises(CheckpointError, match="widthh"):
        load_base_policy(tmp_path)
    (tmp_path / CONFIG_FILE).write_text(json.dumps({**config, "z_dim": 8}))
    with pytest.raises(CheckpointError, match=WEIGHTS_FILE):
        load_base_policy(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_truncated_file_is_named_with_the_remedy(policy, tmp_path, share):
    save_base_policy(tmp_path, policy)
    whole = (tmp_path / WEIGHTS_FILE).read_bytes()
    (tmp_path / WEIGHTS_FILE).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=rf"{WEIGHTS_FILE} is damaged \(.*: copy it again, or delete"):
        load_base_policy(tmp_path)
    with pytest.raises(CheckpointError, match=WEIGHTS_FILE):
        load_action_space(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "null"])
def test_a_configuration_that_is_no_object_is_named(policy, tmp_path, content):
    save_base_policy(tmp_path, policy)
    (tmp_path / CONFIG_FILE).write_text(content)
    with pytest.raises(CheckpointError, match=f"{CONFIG_FILE} does not describe a Stage I policy: "):
        load_base_policy(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"width": "wide"}, r"width: Input should be a valid integer"),
        ({"stem_channels": [16, 32]}, r"stem_channels\[2\]: Field required"),
        ({"flow_steps": 2.5}, "flow_steps: Input should be a valid integer"),
        ({"head": "l2"}, "head: Input should be 'l1' or 'flow'"),
        ({"image_size": 6}, "image_size must be"),
    ],
)
def test_a_configuration_with_a_value_that_cannot_be_is_named(policy, tmp_path, change, says):
    save_base_policy(tmp_path, policy)
    values = json.loads((tmp_path / CONFIG_FILE).read_text())
    (tmp_path / CONFIG_FILE).write_text(json.dumps({**values, **change}))
    for load in (load_base_policy, load_action_space):
        with pytest.raises(
            CheckpointError, match=f"{CONFIG_FILE} does not describe a Stage I policy: {says}"
        ):
            load(tmp_path)


def test_sizes_of_which_no_network_can_be_made_are_named(policy, tmp_path):
    save_base_policy(tmp_path, policy)
    values = json.loads((tmp_path / CONFIG_FILE).read_text())
    (tmp_path / CONFIG_FILE).write_text(json.dumps({**values, "z_dim": -8}))
    with pytest.raises(CheckpointError, match=f"{CONFIG_FILE} describes no network: "):
        load_base_policy(tmp_path)


def test_the_action_space_is_read_without_the_rest_of_the_policy(policy, tmp_path, monkeypatch):
    save_base_policy(tmp_path, policy)
    monkeypatch.setattr(stage_one, "load_file", lambda _: pytest.fail("all weights were read"))
    space = load_action_space(tmp_path).state_dict()
    wanted = policy.action_space.state_dict()
    assert space.keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in space.items())
    assert not torch.equal(space["lower"], -torch.ones(14))
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    (tmp_path / CONFIG_FILE).write_text(json.dumps({**config, "proprio": 8}))
    with pytest.raises(CheckpointError, match=rf"(?s){WEIGHTS_FILE} does not fit .*proprio_mean"):
        load_action_space(tmp_path)


def test_every_frame_starts_one_chunk(policy):
    demonstration = record()
    episodes = list(encode_demonstrations(policy, [demonstration], tasks=TASKS, coefficients=28, batch=4))
    assert len(episodes) == NETWORK.chunk
    rows = np.concatenate([episode.privileged for episode in episodes])
    assert {tuple(row) for row in rows} == {tuple(row) for row in demonstration.privileged}
    assert sum(episode.chunks for episode in episodes) == 13
    first = episodes[0]
    assert first.valid.tolist() == [5, 5, 3]
    joints = policy.action_space.to_joints(
        torch.from_numpy(first.executed), torch.from_numpy(demonstration.proprio[[0, 5, 10]])
    ).numpy()
    np.testing.assert_allclose(joints[1], demonstration.action[5:10], atol=1e-5)
    np.testing.assert_allclose(joints[2, 3:], demonstration.action[[12, 12]], atol=1e-5)


def test_demonstrations_without_simulator_state_are_refused(policy):
    with pytest.raises(DataError, match="simulator/privileged_state"):
        list(encode_demonstrations(policy, [record(privileged=None)], tasks=TASKS, coefficients=28))
    with pytest.raises(DataError, match=r"with seed 5 is of the task 'fold_shirt', expected one of .*cup"):
        list(encode_demonstrations(policy, [record(task="fold_shirt")], tasks=TASKS, coefficients=28))
