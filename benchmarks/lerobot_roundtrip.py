"""Datasets written here and read by LeRobot itself, and the other way round: what comes back.

    python benchmarks/lerobot_roundtrip.py

LeRobot is installed from PyPI into a virtual environment of its own (several GB with its torch; kept and used
again); it needs Python 3.12 or newer. Prints one row for each direction and way of keeping pictures, and
fails if states, actions, instructions or pictures kept as images do not come back to the bit, or pictures in
H.264 differ by more than 4 of 255 on average.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from rich.console import Console
from rich.table import Table

from dygro_ros.errors import DependencyError, UserError, run_main
from dygro_ros.layout import JOINT_LOWER, JOINT_UPPER
from training.episode_record import EpisodeRecord
from training.formats.detection import open_dataset
from training.formats.lerobot_writer import LeRobotWriter

LEROBOT = "lerobot[dataset]==0.6.1"
NEEDS = (3, 12)
CANDIDATES = ("python3.12", "python3.13", "python3")
MOST_VIDEO_ERROR = 4.0

# Runs in LeRobot's environment: knows LeRobot and nothing of ours.
READ = """
import sys
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
root, out = sys.argv[1:]
data = LeRobotDataset("local/roundtrip", root=root, video_backend="pyav")
items = [data[index] for index in range(len(data))]
frames = {"state": np.stack([item["observation.state"] for item in items])}
frames["action"] = np.stack([item["action"] for item in items])
frames["episode"] = np.stack([item["episode_index"] for item in items])
frames["task"] = np.array([item["task"] for item in items])
for key in data.meta.camera_keys:
    views = np.stack([item[key].numpy() for item in items])
    frames[key] = np.rint(views * 255).astype(np.uint8).transpose(0, 2, 3, 1)
frames["mean"] = data.meta.stats["action"]["mean"]
np.savez(out, **frames)
"""
WRITE = """
import sys
import numpy as np
from lerobot.configs import RGBEncoderConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
source, root, kind = sys.argv[1:]
frames = dict(np.load(source))
cameras = [key for key in frames if key.startswith("observation.images.")]
features = {}
for key in ("state", "action"):
    names = frames.pop(key + "_names").tolist()
    name = key if key == "action" else "observation." + key
    features[name] = {"dtype": "float32", "shape": (len(names),), "names": names}
for key in cameras:
    features[key] = {"dtype": kind, "shape": frames[key].shape[1:], "names": ["height", "width", "channels"]}
data = LeRobotDataset.create(
    "local/roundtrip", int(frames["rate_hz"]), features, root=root, use_videos=kind == "video",
    # Never LeRobot's default, AV1: as root its encoder takes the highest real-time priority.
    rgb_encoder=RGBEncoderConfig(vcodec="h264", crf=18),
)
for index, episode in enumerate(frames["episode"]):
    frame = {key: frames[key][index] for key in ("action", *cameras)}
    data.add_frame({**frame, "observation.state": frames["state"][index], "task": str(frames["task"][index])})
    if index + 1 == len(frames["episode"]) or frames["episode"][index + 1] != episode:
        data.save_episode(parallel_encoding=False)
data.finalize()
"""


class Frames(NamedTuple):
    """All frames of a dataset, one after the other."""

    state: NDArray[np.float32]
    action: NDArray[np.float32]
    episode: NDArray[np.int64]
    task: list[str]
    pictures: dict[str, NDArray[np.uint8]]


def episodes(count: int, frames: int, size: int) -> list[EpisodeRecord]:
    """Return made-up episodes: joints that walk at random, blurred noise that drifts, two wordings."""
    rng = np.random.default_rng(0)
    made = []
    for index in range(count):
        steps = rng.normal(0, 0.02, (frames + 1, len(JOINT_LOWER)))
        joints = np.clip((JOINT_LOWER + JOINT_UPPER) / 2 + steps.cumsum(0), JOINT_LOWER, JOINT_UPPER)
        images = np.empty((frames, 2, size, size, 3), dtype=np.uint8)
        for view in range(2):
            noise = Image.fromarray(rng.integers(0, 256, (size, 2 * size, 3), dtype=np.uint8))
            scene = np.asarray(noise.filter(ImageFilter.GaussianBlur(size / 16)))
            stretched = np.clip((scene.astype(float) - 127) * 6 + 127, 0, 255).astype(np.uint8)
            for frame in range(frames):
                images[frame, view] = stretched[:, frame % size : frame % size + size]
        made.append(
            EpisodeRecord(
                instructions=(("put the cup on the coaster", "stack the bowls")[index % 2], "do it"),
                rate_hz=25.0,
                proprio=joints[:-1].astype(np.float32),
                action=joints[1:].astype(np.float32),
                cameras=("head_camera", "left_camera"),
                images=images,
            )
        )
    return made


def together(records: Iterable[EpisodeRecord]) -> Frames:
    """Return the frames of all episodes."""
    found = list(records)
    return Frames(
        state=np.concatenate([record.proprio for record in found]),
        action=np.concatenate([record.action for record in found]),
        episode=np.concatenate([np.full(len(record.action), index) for index, record in enumerate(found)]),
        task=[record.instructions[0] for record in found for _ in record.action],
        pictures={
            f"observation.images.{camera}": np.concatenate([record.images[:, view] for record in found])
            for view, camera in enumerate(found[0].cameras)
        },
    )


def find_python(named: str | None) -> str:
    """Return an interpreter that is new enough for LeRobot.

    Raises:
        DependencyError: There is none.
    """
    asked = [named] if named else [path for name in CANDIDATES if (path := shutil.which(name))]
    question = f"import sys, ensurepip; sys.exit(sys.version_info < {NEEDS})"
    for python in asked:
        try:
            answer = subprocess.run([python, "-c", question], capture_output=True, check=False)
        except OSError:
            continue
        if answer.returncode == 0:
            return python
    raise DependencyError(
        f"{LEROBOT} needs Python {NEEDS[0]}.{NEEDS[1]} or newer with ensurepip, and there is none in "
        f"{' '.join(asked) or 'PATH'}: install one (on Ubuntu 24.04: apt-get install "
        "python3.12-venv; or uv python install 3.12), or name it by --python"
    )


def environment(folder: Path, python: str | None) -> Path:
    """Return the interpreter of an environment that holds LeRobot, made if it is not there.

    Raises:
        UserError: pip could not install it.
        DependencyError: No interpreter is new enough.
    """
    inside = folder / "bin" / "python"
    holds = (
        inside.exists()
        and not subprocess.run(
            [inside, "-c", "import lerobot.datasets.lerobot_dataset"], capture_output=True, check=False
        ).returncode
    )
    if not holds:
        subprocess.run([find_python(python), "-m", "venv", "--clear", folder], check=True)
        if subprocess.run([inside, "-m", "pip", "install", "--quiet", LEROBOT], check=False).returncode:
            raise UserError(f"pip could not install {LEROBOT} into {folder}")
    return inside


def run_inside(python: Path, program: str, *arguments: object) -> None:
    """Run a program in LeRobot's environment, off the network.

    Raises:
        UserError: It failed; the message ends as its own did.
    """
    settings = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    command = [str(python), "-c", program, *map(str, arguments)]
    answer = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise UserError(f"LeRobot could not do it: {answer.stderr.strip()[-2000:]}")


def compare(found: Frames, sent: Frames, exact: bool) -> tuple[list[str], bool]:
    """Return the cells of a row, and whether what came back is what was sent."""
    same = [
        np.array_equal(found.state, sent.state),
        np.array_equal(found.action, sent.action),
        np.array_equal(found.episode, sent.episode) and found.task == sent.task,
    ]
    shapes = {key: value.shape for key, value in sent.pictures.items()}
    if {key: value.shape for key, value in found.pictures.items()} != shapes:
        return [*("equal" if value else "DIFFER" for value in same), "OTHER SHAPES"], False
    errors = [np.abs(found.pictures[key].astype(int) - sent.pictures[key]).mean() for key in sent.pictures]
    worst = float(max(errors))
    pictures = "equal" if worst == 0 else f"{worst:.2f} of 255 off"
    good = all(same) and (worst == 0 if exact else worst <= MOST_VIDEO_ERROR)
    return [*("equal" if value else "DIFFER" for value in same), pictures], good


def read_by_lerobot(python: Path, root: Path, out: Path) -> Frames:
    """Return a dataset's frames as LeRobot hands them out."""
    run_inside(python, READ, root, out)
    with np.load(out) as found:
        return Frames(
            state=found["state"],
            action=found["action"],
            episode=found["episode"],
            task=found["task"].tolist(),
            pictures={key: found[key] for key in found.files if key.startswith("observation.images.")},
        )


def write_by_lerobot(python: Path, sent: Frames, like: EpisodeRecord, root: Path, kind: str) -> None:
    """Have LeRobot write a dataset of these frames, with the names and the rate of a record."""
    source = root.with_suffix(".npz")
    np.savez(
        source,
        state=sent.state,
        action=sent.action,
        episode=sent.episode,
        task=np.array(sent.task),
        state_names=np.array(like.proprio_names),
        action_names=np.array(like.action_names),
        rate_hz=like.rate_hz,
        **sent.pictures,
    )
    run_inside(python, WRITE, source, root, kind)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--python", help="Python 3.12 or newer; unset: looked for on PATH")
    parser.add_argument("--venv", type=Path, default=Path("runs/lerobot_venv"), help="LeRobot's environment")
    parser.add_argument("--dataset", type=Path, help="any dataset instead of made-up episodes")
    parser.add_argument("--episodes", type=int, default=4)
    options = parser.parse_args()
    python = environment(options.venv.absolute(), options.python)
    if options.dataset is not None:
        records = list(open_dataset(options.dataset).episodes())[: options.episodes]
    else:
        records = episodes(options.episodes, frames=50, size=128)
    sent = together(records)
    table = Table("written by", "read by", "kept as", "states", "actions", "tasks", "pictures")
    good = True
    with tempfile.TemporaryDirectory() as scratch:
        for kind in ("image", "video"):
            ours, theirs = Path(scratch) / f"ours_{kind}", Path(scratch) / f"theirs_{kind}"
            with LeRobotWriter(ours, pictures=kind) as writer:
                for record in records:
                    writer.add(record)
            found = read_by_lerobot(python, ours, Path(scratch) / f"{kind}.npz")
            cells, fine = compare(found, sent, kind == "image")
            table.add_row("us", "LeRobot", kind, *cells)
            good &= fine
            write_by_lerobot(python, sent, records[0], theirs, kind)
            cells, fine = compare(together(open_dataset(theirs).episodes()), sent, kind == "image")
            table.add_row("LeRobot", "us", kind, *cells)
            good &= fine
    Console().print(
        f"{LEROBOT}: {len(records)} episodes, {len(sent.task)} frames, {len(sent.pictures)} cameras"
    )
    Console().print(table)
    return 0 if good else 1


if __name__ == "__main__":
    run_main(main)
