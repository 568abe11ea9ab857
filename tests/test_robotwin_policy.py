"""A bundle as RoboTwin's policy: which actions it gives, and which robots and settings it refuses."""

import logging
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from policy_fixtures import CHUNK, answer, cameras, contract, make_bundle
from robotwin_fixtures import client_observation
from test_export_base import frames, told
from test_export_base import policy as token_policy
from vision_language_fixtures import PADDING, TOKENS, tiny_tokenizer

from dygro_ros.errors import BundleError, UserError
from dygro_ros.instruction_codec import BYTES, TokenCodec
from dygro_ros.layout import JOINT_LOWER, JOINT_UPPER, encode_instruction
from dygro_ros.manifest import CameraSpec, expected_graph
from sim2real.export import export_bundle
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


def test_a_policy_that_reads_tokens_is_given_as_many_words_as_it_has_tokens_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reader = RobotwinPolicy(export_bundle(token_policy(), told(), frames(), tmp_path / "bundle").path)
    text = "lift the red cup " + "and then put it down on the table right beside the coaster " * 3
    assert len(text) > 180

    def said(instruction: str) -> NDArray[np.float32]:
        return reader.actions(from_policy_client(client_observation(instruction), HEAD))

    whole = said(text)
    assert f"reads {TOKENS} tokens" in caplog.text and "cut to 'lift the red cup and then'" in caplog.text
    np.testing.assert_array_equal(whole, said("lift the red cup and then"))
    assert abs(whole - said("lift the blue cup")).max() > 1e-3
    assert caplog.text.count("was cut to") == 1


def test_a_cut_counts_what_the_policy_reads_and_keeps_a_word_at_least() -> None:
    for words, kept in (("x" * 91 + " take", 2), ("x" * 92 + " take", 1), ("x" * 92 + " thé", 1)):
        assert fit_instruction(words + " cup", BYTES) == " ".join(words.split()[:kept])
    assert fit_instruction("lift " * 20, BYTES) == ("lift " * 19).strip()
    letters = TokenCodec(tiny_tokenizer(), 12, PADDING)
    assert fit_instruction("abcd efg hij", letters) == "abcd efg hij"
    assert fit_instruction("abcd efg hijk", letters) == "abcd efg"
    with pytest.raises(UserError, match=r"first word of the instruction 'immeasurably' .* than 11 tokens"):
        fit_instruction("immeasurably", TokenCodec(tiny_tokenizer(), 11, PADDING))
    with pytest.raises(UserError, match="has more than 96 UTF-8 bytes"):
        fit_instruction("x" * 97, BYTES)
