"""The arrows of docs/architecture.md and the habits of the house, read from the source itself."""

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("dygro_ros", "models", "sim2real", "training")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
ALL_FILES = sorted(
    [*MODULES, *(path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))]
)
MAX_LINES = 350

OURS_IT_MAY_IMPORT = {
    "dygro_ros": {"dygro_ros"},
    "models": {"models"},
    "sim2real": {"sim2real", "models", "dygro_ros"},
    "training": {"training", "sim2real", "models", "dygro_ros"},
}
# Beside the standard library; a package that is not listed may use any library.
LIBRARIES_IT_MAY_IMPORT = {
    "dygro_ros": {"numpy", "pydantic", "onnxruntime", "cv2", "yaml"},
    "dygro_ros.cameras.realsense": {"numpy", "libusb_package", "pyrealsense2"},
    "dygro_ros.cameras.mcap": {"numpy", "cv2", "mcap", "mcap_ros2"},
    "dygro_ros.instruction_codec": {"numpy", "tokenizers"},
    "dygro_ros.tensorrt_engine": {"numpy", "tensorrt", "cuda"},
    "dygro_ros.nodes": {
        "numpy",
        "pydantic",
        "rclpy",
        "builtin_interfaces",
        "diagnostic_msgs",
        "lifecycle_msgs",
        "rcl_interfaces",
        "sensor_msgs",
        "std_msgs",
        "std_srvs",
        "trajectory_msgs",
    },
    "dygro_ros.nodes.capture_scenes": {"numpy", "cv2", "rclpy", "sensor_msgs"},
    "dygro_ros.nodes.trial_recorder": {"rclpy", "mcap"},
    "dygro_ros.evaluation": {"numpy", "pydantic", "scipy", "yaml"},
    "dygro_ros.evaluation.figures": {"matplotlib"},
    "dygro_ros.evaluation.live_picture": {"numpy", "cv2"},
    "dygro_ros.evaluation.page": {"pydantic", "fastapi", "starlette", "uvicorn"},
    "dygro_ros.evaluation.recording": {"mcap", "mcap_ros2"},
    "dygro_ros.evaluation.plots": {"numpy", "matplotlib"},
    "dygro_ros.evaluation.trial_video": {"numpy", "av"},
    "models": {"numpy", "torch"},
    "models.lora": {"torch", "peft"},
    "models.vision_language": {"torch", "transformers"},
}
SERIALISERS_THAT_RUN_CODE = {
    "pickle",
    "cPickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
}
EVERYTHING = {"Exception", "BaseException"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.Module, path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, absolute module name) of every import, inside functions and by import_module() too."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            yield node.lineno, ".".join([*base, *([node.module] if node.module else [])])
        elif isinstance(node, ast.Call) and called(node) in {"import_module", "__import__"}:
            for name in node.args[:1]:
                if isinstance(name, ast.Constant) and isinstance(name.value, str):
                    yield node.lineno, name.value


def called(node: ast.Call) -> str:
    """Return the last part of the called name: "load" for torch.load(...)."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def forbidden_imports(tree: ast.Module, path: Path) -> list[str]:
    name = module_name(path)
    package = name.split(".")[0]
    listed = [known for known in LIBRARIES_IT_MAY_IMPORT if name == known or name.startswith(f"{known}.")]
    libraries = LIBRARIES_IT_MAY_IMPORT[max(listed, key=len)] if listed else None
    wrong = []
    for line, target in imports(tree, path):
        top = target.split(".")[0]
        if top in PACKAGES or top in {"tests", "benchmarks"}:
            allowed = top in OURS_IT_MAY_IMPORT[package]
        else:
            allowed = libraries is None or top in libraries or top in sys.stdlib_module_names
        if not allowed:
            wrong.append(f"{path.relative_to(ROOT)}:{line}: {name} may not import {target}")
    return wrong


def catches_everything(handler: ast.ExceptHandler) -> bool:
    """True for a blanket handler, unless its last word is to raise again (as cleaning up needs)."""
    last = handler.body[-1]
    if isinstance(last, ast.Raise) and last.exc is None:
        return False
    caught = handler.type
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return caught is None or any(isinstance(name, ast.Name) and name.id in EVERYTHING for name in names)


def keyword(call: ast.Call, name: str) -> object:
    """Return the constant that a call gives to a keyword, None if it gives none."""
    return next(
        (k.value.value for k in call.keywords if k.arg == name and isinstance(k.value, ast.Constant)), None
    )


def runs_code(call: ast.Call) -> str | None:
    """Return what is wrong with a call that could run code from data, None if nothing is."""
    if isinstance(call.func, ast.Name) and call.func.id in {"eval", "exec"}:
        return f"calls {call.func.id}()"
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
        owner = call.func.value.id
        if owner == "torch" and call.func.attr == "load" and keyword(call, "weights_only") is not True:
            return "calls torch.load() without weights_only=True"
    return "sets allow_pickle" if keyword(call, "allow_pickle") is True else None


def bad_habits(tree: ast.Module, path: Path) -> list[str]:
    found = [
        (line, f"imports {target}")
        for line, target in imports(tree, path)
        if target.split(".")[0] in SERIALISERS_THAT_RUN_CODE
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and catches_everything(node):
            found.append((node.lineno, "catches everything"))
        elif isinstance(node, ast.Call) and (wrong := runs_code(node)):
            found.append((node.lineno, wrong))
        elif isinstance(node, ast.Raise) and "NotImplementedError" in ast.unparse(node):
            found.append((node.lineno, "is a stub"))
    return [f"{path.relative_to(ROOT)}:{line}: {what}" for line, what in found]


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), filename=str(path))


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_follow_the_arrows(package: str) -> None:
    paths = [path for path in MODULES if path.relative_to(ROOT).parts[0] == package]
    assert paths, f"no module found in {package}/"
    wrong = [line for path in paths for line in forbidden_imports(tree_of(path), path)]
    assert not wrong, "\n".join(wrong)


def test_no_code_from_data_no_blanket_except_no_stub() -> None:
    wrong = [line for path in MODULES for line in bad_habits(tree_of(path), path)]
    assert not wrong, "\n".join(wrong)


def test_every_module_says_what_it_is() -> None:
    silent = [str(path.relative_to(ROOT)) for path in MODULES if not ast.get_docstring(tree_of(path))]
    assert not silent, "\n".join(silent)


def test_every_file_is_one_idea() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in ALL_FILES}
    long = [
        f"{name}: {lines} lines, more than {MAX_LINES}"
        for name, lines in lengths.items()
        if lines > MAX_LINES
    ]
    assert not long, "\n".join(long)
    assert [name for name in lengths if Path(name).stem in {"utils", "util", "helpers", "misc"}] == []


IMPORT_ALL = """
import importlib, pkgutil, sys
import dygro_ros
names = [m.name for m in pkgutil.walk_packages(dygro_ros.__path__, "dygro_ros.")]
for name in names:
    if not (name + ".").startswith(tuple(sys.argv[2:])):
        importlib.import_module(name)
print(len(names), *sorted(set(sys.argv[1].split(",")) & {name.split(".")[0] for name in sys.modules}))
"""


# Where there are no wheels of ROS, its nodes cannot be imported.
WITHOUT_ROS = [] if importlib.util.find_spec("rclpy") else ["dygro_ros.nodes."]


@pytest.mark.parametrize(
    ("without", "absent"),
    [
        (WITHOUT_ROS, "torch,mujoco,gymnasium,models,sim2real,training,pyrealsense2,tokenizers,transformers"),
        (["dygro_ros.nodes."], "rclpy"),
        ([*WITHOUT_ROS, "dygro_ros.evaluation.", "dygro_ros.nodes.evaluate."], "scipy,fastapi,av"),
    ],
)
def test_importing_the_robot_side_loads_nothing_of_training(without: list[str], absent: str) -> None:
    """What is imported indirectly counts too, hence a fresh interpreter."""
    answer = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, absent, *without],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    count, *loaded = answer.stdout.split()
    assert int(count) >= 3
    assert loaded == []


# The checks above pass on a clean tree: these prove that they can fail.


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("dygro_ros/bundle.py", "import torch"),
        ("dygro_ros/bundle.py", "from scipy import stats"),
        ("dygro_ros/bundle.py", "def f():\n    import sim2real.cell"),
        ("dygro_ros/bundle.py", "import importlib\nimportlib.import_module('training.replay')"),
        ("models/nano.py", "from dygro_ros.layout import ACTION_SIZE"),
        ("models/nano.py", "import mujoco"),
        ("sim2real/cell/scene.py", "from training import config"),
        ("training/replay.py", "from tests import policy_fixtures"),
    ],
)
def test_a_wrong_import_is_found(file: str, source: str) -> None:
    assert len(forbidden_imports(ast.parse(source), ROOT / file)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        (
            "dygro_ros/evaluation/statistics.py",
            "from scipy import stats\nfrom dygro_ros.errors import UserError",
        ),
        ("dygro_ros/evaluation/__init__.py", "from . import statistics\nfrom .. import layout"),
        ("sim2real/export.py", "import torch, models.nano, dygro_ros.bundle"),
        ("training/train_sim.py", "import sim2real.export, models, rich"),
    ],
)
def test_a_right_import_passes(file: str, source: str) -> None:
    assert forbidden_imports(ast.parse(source), ROOT / file) == []


@pytest.mark.parametrize(
    ("source", "clean"),
    [
        ("import pickle", False),
        ("eval('1')", False),
        ("model.eval()", True),
        ("import torch\ntorch.load(p)", False),
        ("import torch\ntorch.load(p, weights_only=True)", True),
        ("np.load(p, allow_pickle=True)", False),
        ("try:\n    f()\nexcept:\n    pass", False),
        ("try:\n    f()\nexcept (ValueError, Exception):\n    pass", False),
        ("try:\n    f()\nexcept BaseException:\n    undo()\n    raise", True),
        ("try:\n    f()\nexcept ValueError:\n    pass", True),
        ("raise NotImplementedError", False),
    ],
)
def test_a_bad_habit_is_found(source: str, clean: bool) -> None:
    assert (bad_habits(ast.parse(source), ROOT / "training/replay.py") == []) is clean
