"""A trial's video: H.264 that others read, at the pictures' own times, whatever disk and camera do."""

import threading
from pathlib import Path

import av
import numpy as np
import pytest

from dygro_ros.errors import DependencyError
from dygro_ros.evaluation import trial_video
from dygro_ros.evaluation.recording import VIDEO_FILE
from dygro_ros.evaluation.trial_video import MOST_WAITING, TrialVideo, VideoError

START_NS = 1_700_000_000_000_000_000


def picture(number: int, height: int = 96, width: int = 128) -> np.ndarray:
    found = np.full((height, width, 3), 90, np.uint8)
    found[:, number % width] = (220, 40, 40)
    return found


def read(path: Path) -> tuple[str, list[float], np.ndarray]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        return (
            stream.codec_context.name,
            [frame.time for frame in frames],
            frames[-1].to_ndarray(format="rgb24"),
        )


@pytest.mark.parametrize(("height", "width"), [(96, 128), (95, 127), (480, 640)])
def test_pictures_come_back_at_their_times(tmp_path: Path, height: int, width: int) -> None:
    video = TrialVideo()
    video.put(picture(0), START_NS)  # no trial is recorded: nothing happens
    video.begin(tmp_path / "trial")
    times_s = [0.0, 0.033, 0.07, 0.5, 1.25]
    for number, time_s in enumerate(times_s):
        video.put(picture(number, height, width), START_NS + round(time_s * 1e9))
    path = video.end()
    assert path == tmp_path / "trial" / VIDEO_FILE and video.pictures == 5 and video.dropped == 0
    codec, found_s, last = read(path)
    assert codec == "h264" and found_s == pytest.approx(times_s, abs=1e-4)
    assert last.shape == (height - height % 2, width - width % 2, 3)
    assert last[:, 60:].mean() == pytest.approx(90, abs=5)
    assert sorted(path.parent.iterdir()) == [path]


def test_what_a_kill_leaves_behind_plays(tmp_path: Path) -> None:
    video = TrialVideo()
    video.begin(tmp_path)
    for number in range(90):
        video.put(picture(number), START_NS + number * 33_333_333)
        while video.pictures <= number:
            pass  # the encoder is as far
    left = tmp_path / "left.mp4"
    left.write_bytes((tmp_path / (VIDEO_FILE + ".part")).read_bytes())
    video.end()
    assert len(read(left)[1]) >= 30


def test_a_clock_that_jumps_back_and_a_camera_that_gives_nothing(tmp_path: Path) -> None:
    video = TrialVideo()
    video.begin(tmp_path / "one")
    for stamp_ns in (START_NS, START_NS + 100_000_000, START_NS - 5_000_000_000, START_NS + 200_000_000):
        video.put(picture(1), stamp_ns)
    path = video.end()
    assert path is not None and read(path)[1] == pytest.approx([0.0, 0.1, 0.2])
    video.begin(tmp_path / "two")
    assert video.end() is None and not (tmp_path / "two").exists() and video.end() is None


def test_a_trial_is_recorded_once_and_one_at_a_time(tmp_path: Path) -> None:
    video = TrialVideo()
    video.begin(tmp_path)
    with pytest.raises(VideoError, match="is still being written"):
        video.begin(tmp_path / "other")
    video.put(picture(0), START_NS)
    video.end()
    with pytest.raises(VideoError, match="a trial is recorded once"):
        video.begin(tmp_path)


def test_a_disk_that_fails_is_said_at_the_end_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    (tmp_path / "trial").write_text("a file where the folder should be")
    video = TrialVideo()
    video.begin(tmp_path / "trial")
    for number in range(3 * MOST_WAITING):
        video.put(picture(number), START_NS + number)
    with pytest.raises(VideoError, match=r"trial\.mp4 is not whole: .*exists"):
        video.end()
    video.begin(tmp_path / "next")
    video.put(picture(0), START_NS)
    assert video.end() is not None


def test_pictures_that_the_encoder_is_too_slow_for_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = threading.Event()
    opened = TrialVideo._open

    def slow(self: TrialVideo, *arguments: object) -> object:
        waits.wait(10)
        return opened(self, *arguments)

    monkeypatch.setattr(TrialVideo, "_open", slow)
    video = TrialVideo()
    video.begin(tmp_path)
    for number in range(MOST_WAITING + 20):
        video.put(picture(number), START_NS + number * 1_000_000)
    assert video.dropped >= 19
    waits.set()
    video.end()
    assert video.pictures + video.dropped == MOST_WAITING + 20


def test_a_missing_encoder_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError("no av")

    monkeypatch.setattr(trial_video.importlib, "import_module", missing)
    with pytest.raises(DependencyError, match="pip install av"):
        TrialVideo()
