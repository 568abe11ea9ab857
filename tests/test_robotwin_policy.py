"""A bundle as RoboTwin's policy: which actions it gives, and which robots and settings it refuses."""

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from policy_fixtures import CHUNK, answer, cameras, contract, make_bundle
from robotwin_fixtures import client_observation

from dygro_ros.errors import BundleError, UserError
from dygro_ros.layout import JOINT_LOWER, JOINT_UPPER, encode_instruction
from dygro_ros.manifest import CameraSpec, expected_graph
from sim2real.robotwin.observations import fit_pictures, from_policy_client
from sim2real.robotwin.policy import RobotwinPolicy, fit_instruction

HEAD = ("head_camera",)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("policy") / "bundle").path


def test_the_answer_is_the_graphs_on_the_fitted_picture(bundle: Path) -> None:
    seen = from_policy_client(client_observation(), HEAD)
    images = fit_pictures(seen, cameras())
    chunk, base, *_ = answer(images, encode_instruction("hit the block"), seen.joints)
    np.testing.assert_allclose(RobotwinPolicy(bundle).actions(seen), chunk, atol=1e-5)
    np.testing.assert_allclose(RobotwinPolicy(bundle, output="base_chunk").actions(seen), base, atol=1e-5)
    assert abs(chunk - base).max() > 1e-3
    first = RobotwinPolicy(bundle, execute=2).actions(seen)
    np.testing.assert_allclose(first, chunk[:2], atol=1e-5)


@pytest.mark.parametrize("execute", [0, CHUNK + 1])
def test_a_part_of_the_chunk_that_it_does_not_have_is_refused(bundle: Path, execute: int) -> None:
    with pytest.raises(UserError, match=rf"execute must be in 1\.\.4, the chunk's length, got {execute}"):
        RobotwinPolicy(bundle, execute=execute)


def test_an_unknown_output_is_refused(bundle: Path) -> None:
    with pytest.raises(UserError, match=r"unknown output 'bass_chunk' .*base_chunk"):
        RobotwinPolicy(bundle, output="bass_chunk")  # type: ignore[arg-type]


def test_a_camera_that_robotwin_does_not_have_is_refused(tmp_path: Path) -> None:
    other: tuple[CameraSpec, ...] = (cameras()[0].model_copy(update={"name": "wide_camera"}),)
    parts = contract()
    graph = expected_graph(other, CHUNK, 3, 5)
    made = make_bundle(tmp_path / "bundle", cameras=other, graph=graph)
    assert parts.cameras != made.manifest.cameras
    with pytest.raises(BundleError, match="sees camera 'wide_camera', but RoboTwin has head_camera"):
        RobotwinPolicy(made.path)


def test_another_robots_joints_are_refused_by_name(bundle: Path) -> None:
    policy = RobotwinPolicy(bundle)
    lower, upper = JOINT_LOWER.astype(np.float64), JOINT_UPPER.astype(np.float64)
    other_edition = np.where(np.arange(14) % 7 == 5, 3.14, upper)  # a Piper's sixth joint in an older model
    policy.require_arms(lower + 0.1, other_edition, "the robot")
    with pytest.raises(BundleError, match=r"left_joint1 .* in -10 \.\. 10"):
        policy.require_arms(np.full(14, -10.0), np.full(14, 10.0), "the robot")
    with pytest.raises(BundleError, match=r"left_joint1 .* in -2\.618 \.\. 2:"):
        policy.require_arms(lower, np.minimum(upper, 2.0), "the robot")
    lower[2], upper[2] = 0.0, 3.14
    with pytest.raises(
        BundleError, match=r"left_joint3 .* -2\.967 \.\. 0, .* of the robot in 0 \.\. 3\.14.*piper"
    ):
        policy.require_arms(lower, upper, "the robot")


def test_joints_where_the_policys_robot_cannot_be_are_refused_by_name(bundle: Path) -> None:
    observation = client_observation()
    observation["state"]["right_arm_joint_state"] = np.array([0, 0.5, 1.2, 0, 0, 0], np.float32)
    wrong = r"right_joint3 of the policy moves in -2\.967 \.\. 0, but RoboTwin's is at 1\.2: .*piper"
    with pytest.raises(BundleError, match=wrong):
        RobotwinPolicy(bundle).actions(from_policy_client(observation, HEAD))


def test_a_long_instruction_is_cut_after_a_whole_word_and_told_once(
    bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    policy = RobotwinPolicy(bundle)
    text = "lift " * 30
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        found = policy.actions(from_policy_client(client_observation(text), HEAD))
    short = policy.actions(from_policy_client(client_observation(("lift " * 19).strip()), HEAD))
    np.testing.assert_array_equal(found, short)
    assert len([record for record in caplog.records if "was cut to" in record.message]) == 1


def test_what_is_not_read_in_bytes_is_not_cut_by_bytes(bundle: Path) -> None:
    policy = RobotwinPolicy(bundle)
    tokens = SimpleNamespace(encoding="tokens", length=8)
    policy.manifest = policy.manifest.model_copy(update={"instruction": tokens})
    seen = from_policy_client(client_observation("lift the cup"), HEAD)
    chunk = RobotwinPolicy(bundle).actions(seen)
    np.testing.assert_array_equal(policy.actions(seen), chunk)


def test_a_cut_counts_bytes_and_keeps_a_word_at_least() -> None:
    assert fit_instruction("take the cup", 12) == "take the cup"
    assert fit_instruction("take the cup", 11) == "take the"
    assert fit_instruction("prends le thé vert", 14) == "prends le thé"
    assert fit_instruction("prends le thé vert", 13) == "prends le"
    with pytest.raises(UserError, match="first word of the instruction 'immensely' has more than 3"):
        fit_instruction("immensely", 3)
