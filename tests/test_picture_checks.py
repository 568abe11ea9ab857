"""What looks wrong in pictures: exchanged colours, frozen and blank cameras; and nothing without cause."""

from dataclasses import replace

import numpy as np
from dataset_fixtures import dual_arm

from training.dataset_checks import Finding
from training.episode_record import EpisodeRecord
from training.picture_checks import ColourHistograms, PictureChecks, sample


def wooden(seed: int = 0, frames: int = 40) -> EpisodeRecord:
    """A brown table with noise."""
    rng = np.random.default_rng(seed)
    images = np.array([150, 110, 70]) + rng.integers(-30, 30, (frames, 1, 32, 32, 3))
    return replace(dual_arm(seed, frames), images=images.astype(np.uint8))


def swapped(record: EpisodeRecord) -> EpisodeRecord:
    return replace(record, images=record.images[..., ::-1])


def look(*records: EpisodeRecord, like: EpisodeRecord | None = None) -> list[Finding]:
    reference = None
    if like is not None:
        colours = ColourHistograms()
        colours.add(like)
        reference = colours.histograms()
    checks = PictureChecks(reference)
    for index, record in enumerate(records):
        checks.add(f"episode {index}", record)
    return checks.findings()


def test_clean_pictures_raise_no_suspicion() -> None:
    assert look(wooden(0), wooden(1)) == []
    assert look(wooden(0), like=wooden(1)) == []


def test_exchanged_colours_are_told_by_a_reference() -> None:
    (finding,) = look(swapped(wooden(0)), like=wooden(1))
    assert finding.kind == "colour order" and not finding.sure
    assert finding.text.startswith("head_camera: with red and blue exchanged it is like the reference (")
    # A blue scene is no fault where the reference is blue as well.
    assert look(swapped(wooden(0)), like=swapped(wooden(1))) == []


def test_a_reference_of_another_place_says_nothing() -> None:
    green = replace(wooden(), images=np.full_like(wooden().images, (20, 200, 20)))
    assert look(wooden(), like=green) == []
    (finding,) = look(swapped(wooden()), like=green)
    assert "A guess" in finding.text


def test_without_a_reference_it_is_called_a_guess() -> None:
    (finding,) = look(swapped(wooden(0)))
    assert "80 of 255 more blue than red: stored as BGR? A guess" in finding.text
    both = replace(
        wooden(),
        cameras=("front", "wrist"),
        images=np.concatenate([wooden().images, swapped(wooden()).images], 1),
    )
    (finding,) = look(both)
    assert finding.text.startswith("wrist: 80 of 255 more blue than red and front more red: stored as BGR?")


def test_a_camera_that_stands_still_while_the_robot_moves_is_found() -> None:
    images = wooden().images.copy()
    images[5:32] = images[5]
    (finding,) = look(wooden(1), replace(wooden(), images=images))
    assert finding.kind == "frozen pictures"
    assert (
        "head_camera: the same picture while the robot moves, 26 frames from frame 5 of episode 1"
        in finding.text
    )
    still = replace(wooden(), images=images, proprio=np.zeros((40, 14), np.float32))
    assert look(still) == []
    images = wooden().images.copy()
    images[5:25] = images[5]  # shorter than a second
    assert look(replace(wooden(), images=images)) == []


def test_blank_pictures_are_found() -> None:
    for value in (0, 255, 120):
        images = wooden().images.copy()
        images[:4] = value
        (finding,) = look(replace(wooden(), images=images))
        assert finding.text == "head_camera: 10% of the pictures are black, white or flat"
    images[1:4] = wooden().images[1:4]
    assert look(replace(wooden(), images=images)) == []


def test_episodes_are_sampled_evenly() -> None:
    assert sample(10, 4) == [0, 3, 6, 9]
    assert sample(3, 4) == [0, 1, 2]
    assert sample(1, 4) == [0]
