"""Recorded episodes: rate, picture size and meaning after they have been brought to what the policy sees."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dataset_fixtures import dual_arm, libero_like
from hypothesis import given
from hypothesis import strategies as st
from vision_language_fixtures import PADDING, tiny_tokenizer

from dygro_ros.errors import DataError, UserError
from dygro_ros.instruction_codec import TokenCodec
from dygro_ros.manifest import WHOLE_PICTURE, CameraSpec
from sim2real.robotwin.observations import fit_picture
from sim2real.robotwin.world import RobotwinWorld
from training.episode_file import read_episode, write_episode
from training.episode_record import EpisodeRecord
from training.formats.lerobot_writer import LeRobotWriter
from training.formats.libero import ACTION_NAMES, PROPRIO_NAMES
from training.formats.libero_writer import LiberoFileWriter
from training.formats.source import EpisodeReference
from training.recorded_demonstrations import RecordedConfig, at_rate, find_episodes, read_recorded

ROBOTWIN_RATE_HZ = 250 / 15
HEAD = ("head_camera",)


def robotwin_like(frames: int = 11, height: int = 24, width: int = 32) -> EpisodeRecord:
    """States that count up by one a frame, each action the next state; frame k is painted in grey 10 k."""
    state = np.arange(frames, dtype=np.float32)
    joints, targets = (
        np.repeat(values[:, None] / 20, 14, axis=1) for values in (state, np.minimum(state + 1, frames - 1))
    )
    images = np.zeros((frames, 1, height, width, 3), dtype=np.uint8)
    images += (10 * np.arange(frames, dtype=np.uint8))[:, None, None, None, None]
    return EpisodeRecord(
        instructions=("pick up both bottles",),
        rate_hz=15,
        proprio=joints,
        action=targets,
        cameras=HEAD,
        images=images,
    )


def first(path: Path) -> EpisodeReference:
    return find_episodes(path)[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "pick_dual_bottles" / "data" / "episode_0000000.hdf5"
    path.parent.mkdir(parents=True)
    write_episode(path, robotwin_like())
    return path


def test_robotwins_next_state_stays_the_next_state_at_our_rate(path: Path) -> None:
    record = read_recorded(first(path), cameras=HEAD, image_size=16, rate_hz=ROBOTWIN_RATE_HZ)
    assert record.rate_hz == 25
    assert len(record.proprio) == len(record.action) == len(record.images) == 16  # 0.6 s
    np.testing.assert_allclose(record.proprio[:, 3], np.arange(16) * ROBOTWIN_RATE_HZ / 25 / 20, atol=1e-6)
    np.testing.assert_allclose(record.action[1:-1], record.proprio[2:], atol=1e-6)
    # No picture of the future: the frame shown is the last that had been taken.
    shown = record.images[:, 0, 8, 8, 0].astype(int)
    np.testing.assert_allclose(shown, 10 * np.floor(np.arange(16) * ROBOTWIN_RATE_HZ / 25 + 1e-6), atol=2)


def test_the_middle_square_is_taken(tmp_path: Path) -> None:
    record = robotwin_like(frames=3, height=32, width=48)
    images = np.zeros((3, 1, 32, 48, 3), dtype=np.uint8)
    images[..., 8:24, 1] = 200  # the left half of the middle square is green
    write_episode(tmp_path / "a.hdf5", replace(record, rate_hz=25, images=images))
    found = read_recorded(first(tmp_path / "a.hdf5"), cameras=HEAD, image_size=16, rate_hz=None)
    assert found.images.shape == (3, 1, 16, 16, 3)
    np.testing.assert_allclose(found.images[0, 0, 8, 2], (0, 200, 0), atol=12)
    np.testing.assert_allclose(found.images[0, 0, 8, 13], (0, 0, 0), atol=12)


def test_recorded_pictures_are_made_as_live_ones_are(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 240, 320, 3), dtype=np.uint8)
    write_episode(tmp_path / "a.hdf5", replace(robotwin_like(frames=2), rate_hz=25, images=images))
    shown = read_episode(tmp_path / "a.hdf5", cameras=HEAD).images[:, 0]  # what its JPEGs hold
    found = read_recorded(first(tmp_path / "a.hdf5"), cameras=HEAD, image_size=128, rate_hz=None)
    spec = CameraSpec(
        name=HEAD[0], width=128, height=128, colour_order="RGB", crop=WHOLE_PICTURE, rotation_deg=0
    )
    live = np.stack([fit_picture(picture, spec) for picture in shown])
    np.testing.assert_array_equal(found.images[:, 0], live)


@given(frames=st.integers(1, 40), rate_hz=st.floats(1, 120))
def test_any_rate_keeps_the_duration_and_stays_between_what_was_recorded(frames: int, rate_hz: float) -> None:
    record = replace(robotwin_like(frames, height=2, width=2), rate_hz=rate_hz)
    found = at_rate(record, 25)
    assert abs((len(found.proprio) - 1) / 25 - (frames - 1) / rate_hz) < 1 / 25 + 1e-6
    for values, recorded in ((found.proprio, record.proprio), (found.action, record.action)):
        assert values.dtype == np.float32
        assert values.min() >= recorded.min() and values.max() <= recorded.max()
    assert np.all(np.diff(found.action[:, 0]) >= 0)


def test_robotwins_world_keeps_robotwins_frames(path: Path) -> None:
    recorded = first(path).read(HEAD)
    rate_hz = RobotwinWorld.control_rate_hz
    for typed in (16.667, 16.6667, 250 / 15):
        found = read_recorded(
            first(path), cameras=HEAD, image_size=16, rate_hz=typed, control_rate_hz=rate_hz
        )
        assert found.rate_hz == rate_hz
        np.testing.assert_array_equal(found.proprio, recorded.proprio)
        np.testing.assert_array_equal(found.action, recorded.action)
        assert len(found.images) == len(recorded.images)


def test_the_files_word_counts_where_no_rate_is_given(path: Path) -> None:
    with pytest.raises(
        DataError, match=r"must be 25 Hz, found 15 Hz: say the true rate by --recorded\.rate-hz"
    ):
        read_recorded(first(path), cameras=HEAD, image_size=16, rate_hz=None)
    for wrong in (-1.0, np.inf, np.nan):
        with pytest.raises(
            UserError, match=rf"--recorded\.rate-hz must be a finite .* above 0, got {wrong:g}"
        ):
            read_recorded(first(path), cameras=HEAD, image_size=16, rate_hz=wrong)


def test_a_rate_needs_the_recordings_that_it_is_of() -> None:
    RecordedConfig().check()
    RecordedConfig(Path("data"), rate_hz=16.667).check()
    with pytest.raises(UserError, match=r"--recorded\.rate-hz 16\.667 .* name them by --recorded\.folder"):
        RecordedConfig(rate_hz=16.667).check()
    with pytest.raises(UserError, match="must be a finite number above 0, got inf"):
        RecordedConfig(Path("data"), rate_hz=math.inf).check()


def test_instructions_too_long_for_the_policy_are_left_out(tmp_path: Path) -> None:
    record = replace(robotwin_like(), rate_hz=25, instructions=("lift " * 20, "lift both"))
    write_episode(tmp_path / "a.hdf5", record)
    found = read_recorded(first(tmp_path / "a.hdf5"), cameras=HEAD, image_size=16, rate_hz=None)
    assert found.instructions == ("lift both",)
    write_episode(tmp_path / "b.hdf5", replace(record, instructions=("lift " * 20, "lift " * 30)))
    with pytest.raises(
        DataError,
        match=r"b\.hdf5: the policy can read no .*: instruction must have 1 to 96 UTF-8 bytes, got 100:",
    ):
        read_recorded(first(tmp_path / "b.hdf5"), cameras=HEAD, image_size=16, rate_hz=None)


def test_a_policy_that_reads_tokens_keeps_the_instructions_that_fit_its_tokens(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="the extra base is not installed")
    texts = ("lift " * 20, "lift " * 30, "lift lift")
    write_episode(tmp_path / "a.hdf5", replace(robotwin_like(), rate_hz=25, instructions=texts))

    def kept(length: int) -> tuple[str, ...]:
        codec = TokenCodec(tiny_tokenizer(), length, PADDING)
        shown = first(tmp_path / "a.hdf5")
        return read_recorded(shown, cameras=HEAD, image_size=16, rate_hz=None, codec=codec).instructions

    assert kept(60) == texts
    assert kept(59) == texts[::2]
    with pytest.raises(
        DataError, match=r"can read no instruction: instruction must have 1 to 1 tokens, got 3"
    ):
        kept(1)


def test_files_are_found_at_any_depth(path: Path, tmp_path: Path) -> None:
    assert [str(episode) for episode in find_episodes(tmp_path)] == [str(path)]
    with pytest.raises(UserError, match="is not a folder"):
        find_episodes(tmp_path / "none")
    # What a killed collection or conversion left unfinished is no data.
    (tmp_path / ".converted.12.part").mkdir()
    for name in (".try1000000000.hdf5", ".converted.12.part/episode_0000000.hdf5"):
        (tmp_path / name).write_bytes(path.read_bytes()[:100])
    assert [str(episode) for episode in find_episodes(tmp_path)] == [str(path)]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no dataset: expected RoboTwin"):
        find_episodes(tmp_path / "empty")


def test_data_of_another_robot_are_refused_unless_they_are_wanted(tmp_path: Path) -> None:
    file = tmp_path / "turn_on_the_stove_demo.hdf5"
    with LiberoFileWriter(file) as writer:
        writer.add(libero_like())
    cameras = ("agentview",)
    for wanted in (cameras, HEAD):
        with pytest.raises(DataError, match=r"demo_0: proprio is another robot's: expected left_j.*ee_x"):
            read_recorded(first(file), cameras=wanted, image_size=16, rate_hz=None)
    record = read_recorded(
        first(file),
        cameras=cameras,
        image_size=16,
        rate_hz=None,
        proprio_names=PROPRIO_NAMES,
        action_names=ACTION_NAMES,
        control_rate_hz=20,
    )
    np.testing.assert_array_equal(record.action, libero_like().action)
    assert record.images.shape == (6, 1, 16, 16, 3)


def test_steps_are_not_brought_to_another_rate() -> None:
    assert at_rate(libero_like(), 20).rate_hz == 20
    with pytest.raises(DataError, match="are steps and cannot be brought from 20 Hz to 25 Hz"):
        at_rate(libero_like(), 25)


def test_a_lerobot_dataset_of_ours_keeps_its_simulator_state(tmp_path: Path) -> None:
    with LeRobotWriter(tmp_path / "set") as writer:
        writer.add(dual_arm())
    (episode,) = find_episodes(tmp_path / "set")
    record = read_recorded(episode, cameras=HEAD, image_size=16, rate_hz=None)
    assert record.images.shape == (60, 1, 16, 16, 3) and record.task == "place_empty_cup"
    np.testing.assert_array_equal(record.privileged, dual_arm().privileged)
    turned = replace(dual_arm(), action_names=dual_arm().action_names[::-1])
    with LeRobotWriter(tmp_path / "turned") as writer:
        writer.add(turned)
    with pytest.raises(DataError, match=r"turned: episode 0: action must be in the order left_joint1, "):
        read_recorded(first(tmp_path / "turned"), cameras=HEAD, image_size=16, rate_hz=None)
