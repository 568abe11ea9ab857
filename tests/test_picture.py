"""From a camera's picture to the policy's: the right part, the right way round, averaged."""

import cv2
import numpy as np
import pytest

from dygro_ros.errors import UserError
from dygro_ros.manifest import WHOLE_PICTURE, CameraSpec, CropSpec
from dygro_ros.picture import PictureFitter, middle, resize

MIDDLE = CropSpec(left=0.125, top=0.0, right=0.875, bottom=1.0)


def spec(size: int = 16, rotation_deg: int = 0, crop: CropSpec = WHOLE_PICTURE) -> CameraSpec:
    return CameraSpec(
        name="head_camera", width=size, height=size, colour_order="RGB", crop=crop, rotation_deg=rotation_deg
    )


def test_a_picture_that_fits_is_left_alone() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.array_equal(PictureFitter(spec(), WHOLE_PICTURE).fit(picture), picture)


def test_pixels_are_means_of_what_falls_into_them() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    fitted = PictureFitter(spec(), MIDDLE).fit(picture)
    wanted = picture[:, 80:560].reshape(16, 30, 16, 30, 3).mean(axis=(1, 3))
    assert np.abs(fitted - wanted).max() <= 1


def test_a_broken_ratio_is_averaged_too() -> None:
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.integers(0, 256, (480, 480, 3), dtype=np.uint8), (0, 0), 3.0)
    fitted = PictureFitter(spec(128), WHOLE_PICTURE).fit(smooth)
    exact = cv2.resize(smooth.astype(np.float64), (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(fitted - exact).max() <= 2
    # One bright pixel in 14 is not lost, whichever it is.
    dots = np.zeros((480, 480, 3), np.uint8)
    dots[::7, ::2] = 255
    assert np.abs(PictureFitter(spec(128), WHOLE_PICTURE).fit(dots).mean() - dots.mean()) < 1


@pytest.mark.parametrize(
    ("shape", "aspect", "rows", "columns"),
    [
        ((24, 32), 1.0, (0, 24), (4, 28)),
        ((32, 24), 1.0, (4, 28), (0, 24)),
        ((24, 33), 1.0, (0, 24), (4, 28)),
        ((24, 32), 2.0, (4, 20), (0, 32)),
        ((24, 32), 4 / 3, (0, 24), (0, 32)),
        ((1, 9), 0.1, (0, 1), (4, 5)),
    ],
)
def test_the_middle_is_as_large_as_the_shape_lets_it_be(
    shape: tuple[int, int], aspect: float, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    np.testing.assert_array_equal(middle(picture, aspect), picture[slice(*rows), slice(*columns)])


def test_a_part_of_the_right_size_is_copied_whole() -> None:
    part = np.random.default_rng(0).integers(0, 256, (16, 32, 3), dtype=np.uint8)[:, 8:24]
    same = resize(part, 16, 16)
    assert np.array_equal(same, part) and same.flags.c_contiguous
    assert resize(part, 24, 20).shape == (20, 24, 3)


def test_both_crops_count_then_the_rotation() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:16, 16:32] = (10, 20, 30)  # upper right quarter of the left upper half
    left_upper = CropSpec(left=0.0, top=0.0, right=0.5, bottom=0.5)
    fitted = PictureFitter(spec(16, 90, WHOLE_PICTURE), left_upper).fit(picture)
    # Clockwise, what was above on the right is below on the right.
    assert np.array_equal(fitted[8:, 8:], np.broadcast_to((10, 20, 30), (8, 8, 3)))
    assert not fitted[:8].any()
    inner = PictureFitter(spec(16, 0, left_upper), left_upper).fit(picture)
    assert not inner.any()


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (np.zeros((16, 16), np.uint8), r"expected uint8 \(H, W, 3\), got uint8 \(16, 16\)"),
        (np.zeros((16, 16, 3), np.float32), "got float32"),
        (np.zeros((480, 640, 3), np.uint8), "the crop leaves 640 x 480 px .* choose a crop of that aspect"),
    ],
)
def test_what_does_not_fit_is_refused(picture: np.ndarray, words: str) -> None:
    with pytest.raises(UserError, match=words):
        PictureFitter(spec(), WHOLE_PICTURE).fit(picture)
