"""The newest picture, for whoever shows it."""

import cv2
import numpy as np

from dygro_ros.evaluation.live_picture import LivePicture


def test_the_newest_picture_is_encoded_once_and_its_age_is_known() -> None:
    now_s = 10.0
    live = LivePicture(lambda: now_s)
    assert live.age_s() is None and live.count == 0 and live.jpeg() == (0, b"")
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[..., 0] = 200
    live.put(picture)
    now_s = 12.5
    assert live.age_s() == 2.5
    count, first = live.jpeg()
    assert count == live.count == 1 and live.jpeg()[1] is first
    decoded = cv2.imdecode(np.frombuffer(first, np.uint8), cv2.IMREAD_COLOR)
    # Red stays red: what comes is RGB.
    assert decoded.shape == (48, 64, 3) and decoded[..., 2].mean() > 180 > 20 > decoded[..., 0].mean()
    live.put(picture // 2)
    count, second = live.jpeg()
    assert count == 2 and second != first and live.age_s() == 0.0
