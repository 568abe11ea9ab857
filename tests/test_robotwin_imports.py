"""What runs in RoboTwin's interpreter asks for nothing that is not there."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS_ALONE = {"torch", "mujoco", "gymnasium", "scipy", "h5py", "tyro", "rich", "websockets", "msgpack", "PIL"}
ONLY_FOR_THE_POLICY = {"cv2", "pydantic", "onnxruntime"}
IMPORT = (
    "import sys, importlib; [importlib.import_module(name) for name in sys.argv[1:]]; print(*sys.modules)"
)


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        (["sim2real.robotwin.policy_folder"], OURS_ALONE),
        (["sim2real.robotwin.server", "sim2real.robotwin.simulation"], OURS_ALONE | ONLY_FOR_THE_POLICY),
    ],
)
def test_nothing_of_our_environment_is_imported(modules: list[str], absent: set[str]) -> None:
    command = [sys.executable, "-c", IMPORT, *modules]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {name.split(".")[0] for name in ran.stdout.split()}
    assert "numpy" in imported
    assert imported & absent == set()
