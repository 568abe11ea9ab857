"""The metadata that pip and colcon read, held together."""

import configparser
import re
import runpy
import stat
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import setuptools

import dygro_ros

ROOT = Path(__file__).resolve().parents[1]
TRAINING_ONLY = {"torch", "mujoco", "gymnasium", "h5py", "safetensors", "onnx", "onnxscript"}


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments that setup.py gives to setuptools.setup."""
    given: dict[str, Any] = {}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: given.update(arguments))
    runpy.run_path(str(ROOT / "setup.py"))
    return given


def project(requirement: str) -> str:
    """Return the name in a requirement: "numpy" for "numpy>=1.26"."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return match[0].lower()


def test_one_version_everywhere(metadata: dict[str, Any]) -> None:
    manifest = ET.parse(ROOT / "package.xml").getroot()
    assert metadata["version"] == manifest.findtext("version") == dygro_ros.__version__


def test_package_xml_is_an_ament_python_package(metadata: dict[str, Any]) -> None:
    manifest = ET.parse(ROOT / "package.xml").getroot()
    assert manifest.tag == "package" and manifest.get("format") == "3"
    assert manifest.findtext("export/build_type") == "ament_python"
    assert manifest.findtext("name") == metadata["name"]
    assert manifest.findtext("license") == metadata["license"]
    assert not {project(element.text or "") for element in manifest.iter("exec_depend")} & TRAINING_ONLY


def test_colcon_finds_marker_manifest_and_scripts(metadata: dict[str, Any]) -> None:
    installed = {f"{folder}/{Path(file).name}" for folder, files in metadata["data_files"] for file in files}
    assert "share/ament_index/resource_index/packages/dygro_ros" in installed
    assert "share/dygro_ros/package.xml" in installed
    assert all((ROOT / file).is_file() for _, files in metadata["data_files"] for file in files)
    for folder, pattern in (("launch", "*.launch.py"), ("config", "*.yaml")):
        wanted = {f"share/dygro_ros/{folder}/{path.name}" for path in (ROOT / folder).glob(pattern)}
        assert wanted <= installed
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "setup.cfg")
    assert (
        settings["develop"]["script_dir"] == settings["install"]["install_scripts"] == "$base/lib/dygro_ros"
    )


def test_the_robot_side_is_small(metadata: dict[str, Any]) -> None:
    assert {project(r) for r in metadata["install_requires"]} == {
        "numpy",
        "pydantic",
        "onnxruntime",
        "opencv-python-headless",
        "pyyaml",
    }
    assert {project(r) for r in metadata["extras_require"]["eval"]} == {
        "scipy",
        "matplotlib",
        "av",
        "fastapi",
        "uvicorn",
        "mcap-ros2-support",
    }


def test_what_decides_results_is_pinned(metadata: dict[str, Any]) -> None:
    train = metadata["extras_require"]["train"]
    assert "torch==2.13.0" in train and "mujoco==3.17.0" in train
    assert {project(r) for r in train} >= TRAINING_ONLY | {"scipy", "tyro", "rich", "tensorboard"}


def test_every_package_is_installed(metadata: dict[str, Any]) -> None:
    folders = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for package in ("dygro_ros", "models", "sim2real", "training")
        for path in (ROOT / package).rglob("*.py")
    }
    assert set(metadata["packages"]) == folders
    assert (ROOT / "dygro_ros" / "py.typed").is_file()


def test_pyproject_repeats_no_metadata() -> None:
    tables = re.findall(r"^\[+([^\]]+)\]", (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
    assert "build-system" in tables
    assert [table for table in tables if not table.startswith(("build-system", "tool."))] == []


def test_ci_runs_the_command_of_the_readme() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    assert script.read_text("utf-8").splitlines()[-1] == "make test"
    assert re.search(r"^make test$", (ROOT / "README.md").read_text("utf-8"), re.M)
