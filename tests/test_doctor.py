"""What the doctor finds, and what it says mends it."""

import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from policy_fixtures import make_bundle

from dygro_ros import doctor
from dygro_ros.doctor import Finding, Level
from dygro_ros.errors import DependencyError
from dygro_ros.inference import OnnxPolicy, PolicyOutput
from dygro_ros.robot_profile import read_profile

ROOT = Path(__file__).resolve().parents[1]


def nowhere(name: str) -> None:
    return None


def levels(findings: list[Finding]) -> list[Level]:
    return [finding.level for finding in findings]


def test_a_library_that_is_not_installed_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "onnxruntime-gpu":
            return "1.23.2"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    found = list(doctor.look_at_python())
    assert Finding(Level.OK, "onnxruntime-gpu 1.23.2") in found
    assert Finding(Level.MISSING, "numpy is not installed", "pip install numpy") in found


def test_a_ros_that_does_not_import_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> Any:
        raise ImportError(f"no {name}")

    [found] = doctor.look_at_ros({}, load)
    assert found.level is Level.MISSING and "source /opt/ros" in found.mend
    monkeypatch.setattr(doctor.np, "__version__", "2.1.0")
    [found] = doctor.look_at_ros({"ROS_DISTRO": "humble"}, load)
    assert found.mend == "humble is compiled against numpy 1: pip install 'numpy<2'"


@pytest.mark.parametrize(
    ("reach", "level"), [(None, Level.OK), ("LOCALHOST", Level.OK), ("SUBNET", Level.NOTE)]
)
def test_a_ros_that_the_network_hears_is_noted(reach: str | None, level: Level) -> None:
    modules = {
        "rclpy": SimpleNamespace(),
        "rclpy.utilities": SimpleNamespace(get_rmw_implementation_identifier=lambda: "rmw_some"),
        "sensor_msgs.msg": SimpleNamespace(Image=object),
    }
    environment = {"ROS_DISTRO": "jazzy"}
    if reach is not None:
        environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = reach
    ros, network = doctor.look_at_ros(environment, modules.__getitem__)
    assert ros == Finding(Level.OK, "ROS 2 jazzy, rmw_some")
    assert network.level is level


def test_the_robots_provider_must_run() -> None:
    def run(provider: str) -> None:
        if provider != "cpu":
            raise DependencyError(f"no {provider}: pip install it")

    assert levels(list(doctor.look_at_providers("cpu", run))) == [Level.OK] + 3 * [Level.NOTE]
    cpu, cuda, *_ = doctor.look_at_providers("cuda", run)
    assert cpu.level is Level.OK
    assert cuda == Finding(Level.MISSING, "provider cuda does not run", "no cuda: pip install it")
    assert next(iter(doctor.look_at_providers("cpu"))) == Finding(Level.OK, "provider cpu runs")


def test_the_robots_camera_must_be_connected() -> None:
    def one() -> list[tuple[str, str]]:
        return [("123", "D435, serial number 123")]

    assert levels(list(doctor.look_at_camera("", needed=False, devices=list))) == [Level.NOTE]
    assert levels(list(doctor.look_at_camera("123", needed=True, devices=list))) == [Level.MISSING]
    assert levels(list(doctor.look_at_camera("123", needed=True, devices=one))) == [Level.OK]
    _, other = doctor.look_at_camera("7", needed=True, devices=one)
    assert other.level is Level.MISSING and other.mend == "set it to one of 123"


def program(folder: Path, body: str) -> str:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_gpu_and_clock_are_read_off_their_programs(tmp_path: Path) -> None:
    assert levels(list(doctor.look_at_gpu(nowhere))) == [Level.NOTE]
    gpu = program(tmp_path, "echo 'A10G, 580.1, 24 GiB'")
    assert list(doctor.look_at_gpu(lambda name: gpu)) == [Finding(Level.OK, "GPU: A10G, 580.1, 24 GiB")]
    broken = program(tmp_path, "echo 'driver and library differ' >&2; exit 9")
    [found] = doctor.look_at_gpu(lambda name: broken)
    assert found.level is Level.NOTE and "driver and library differ" in found.what
    assert "unknown" in next(iter(doctor.look_at_clock(nowhere))).what
    for answer, level in (("yes", Level.OK), ("no", Level.NOTE)):
        clock = program(tmp_path, f"echo {answer}")
        assert levels(list(doctor.look_at_clock(lambda name, clock=clock: clock))) == [level]  # type: ignore[misc]


def test_a_late_loop_and_a_saving_governor_are_noted(tmp_path: Path) -> None:
    governor = tmp_path / "governor"
    governor.write_text("powersave\n")
    refused = "ordinary: real-time priority 40 is not permitted, dygro-doctor tells how it can be"
    rights, saving, late = doctor.look_at_scheduling(governor, lambda: (refused, [0.0, 0.004]))
    assert rights.what == "a control loop's thread is ordinary: real-time priority 40 is not permitted"
    assert levels([rights, saving, late]) == [Level.NOTE] * 3
    assert "powersave" in saving.what and "late by 3.96 ms" in late.what
    well = list(doctor.look_at_scheduling(tmp_path / "none", lambda: ("SCHED_FIFO 40", [1e-4])))
    assert levels(well) == [Level.OK, Level.OK] and "SCHED_FIFO 40" in well[0].what


def test_a_bundle_is_run_as_the_robot_would(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle").path
    profile = read_profile("sim")
    [found] = doctor.look_at_bundle(bundle, profile)
    assert found.level is Level.OK and "CPUExecutionProvider" in found.what
    faster = profile.model_copy(
        update={"arm_bridge": profile.arm_bridge.model_copy(update={"action_rate_hz": 50.0})}
    )
    [found] = doctor.look_at_bundle(bundle, faster)
    assert found.mend == "its actions are of 25 Hz, arm_bridge.action_rate_hz is 50"
    topics = profile.policy_node.model_copy(update={"image_topics": ("/front/color/image_raw",)})
    [found] = doctor.look_at_bundle(bundle, profile.model_copy(update={"policy_node": topics}))
    assert 'cameras[0].name is "head_camera", but the robot has "front"' in found.mend
    [found] = doctor.look_at_bundle(tmp_path / "nothing", None)
    assert found.level is Level.MISSING and "is not a folder" in found.mend


def test_a_policy_that_is_too_slow_for_its_chunks_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    quick = OnnxPolicy.infer_arrays

    def slow(self: OnnxPolicy, *arrays: Any) -> PolicyOutput:
        calls.append("infer")
        return replace(quick(self, *arrays), latency_s=5.0)

    bundle = make_bundle(tmp_path / "bundle")
    monkeypatch.setattr(OnnxPolicy, "infer_arrays", slow)
    for profile, level in ((None, Level.NOTE), (read_profile("sim"), Level.MISSING)):
        calls.clear()
        [found] = doctor.look_at_bundle(bundle.path, profile)
        assert found.level is level and "a chunk in 5000.0 ms (p99 5000.0)" in found.what
        assert "it holds 160 ms of actions: choose another policy_node.provider" in found.mend
        assert len(calls) < doctor.ANSWERS  # it does not keep anybody waiting


def test_the_command_says_what_is_missing_and_fails(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dygro_ros.doctor", "--bundle", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert f"MISSING bundle {tmp_path} cannot be run" in done.stdout
    assert "  -> " in done.stdout
    assert "1 missing" in done.stdout or "2 missing" in done.stdout
