"""`dygro-doctor`: what this machine has for running a policy on a robot, each line with what mends it.

    dygro-doctor
    dygro-doctor --robot piper --bundle runs/nano/bundle

Without options it looks at the machine alone. With a robot's profile it looks for that robot's camera and
provider, and with a bundle it runs it. Exit code 1 where something is missing that the robot needs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from dygro_ros.bundle import Bundle, read_bundle, verify_golden
from dygro_ros.cameras.realsense import describe, librealsense
from dygro_ros.control_loop import ControlLoop
from dygro_ros.distributions import installed
from dygro_ros.errors import DependencyError, UserError, run_main
from dygro_ros.inference import ENGINE, PROVIDERS, OnnxPolicy, Provider, probe
from dygro_ros.real_time import ORDINARY
from dygro_ros.robot_profile import RobotProfile, read_profile

# Distributions whose own packages are compiled against numpy 1.
NUMPY_1_DISTRIBUTIONS = ("humble", "jazzy", "kilted")
JITTER_RATE_HZ, JITTER_S, JITTER_BAR_S = 100.0, 2.0, 0.002
# That of our profiles.
REALTIME_PRIORITY = 40
# A policy is timed over that many answers, or for that long, but over a few in any case.
ANSWERS, FEWEST_ANSWERS, ANSWERS_S = 50, 3, 10.0
COMMAND_S = 5.0
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


class Level(Enum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    MISSING = "MISSING"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    level: Level
    what: str
    mend: str = ""
    """The command or act that mends it; empty where nothing needs to be."""


def look_at_python() -> Iterator[Finding]:
    """Python and the libraries of the robot side."""
    fits = (3, 10) <= sys.version_info[:2] <= (3, 12)
    text = f"Python {sys.version.split()[0]} ({sys.executable})"
    yield Finding(Level.OK if fits else Level.MISSING, text, "" if fits else "use Python 3.10, 3.11 or 3.12")
    for name in ("numpy", "onnxruntime"):
        try:
            yield Finding(Level.OK, " ".join(installed(name)))
        except metadata.PackageNotFoundError:
            yield Finding(Level.MISSING, f"{name} is not installed", f"pip install {name}")


def look_at_ros(environment: Mapping[str, str], load: Callable[[str], Any]) -> Iterator[Finding]:
    """rclpy, its distribution and its middleware."""
    distribution = environment.get("ROS_DISTRO", "")
    try:
        load("rclpy")
        middleware = load("rclpy.utilities").get_rmw_implementation_identifier()
        load("sensor_msgs.msg").Image()
    except (ImportError, AttributeError) as error:
        mend = "source /opt/ros/<distribution>/setup.bash, or: pip install 'dygro_ros[ros]'"
        if distribution in NUMPY_1_DISTRIBUTIONS and int(np.__version__.split(".")[0]) > 1:
            mend = f"{distribution} is compiled against numpy 1: pip install 'numpy<2'"
        yield Finding(Level.MISSING, f"rclpy does not work: {error}", mend)
        return
    yield Finding(Level.OK, f"ROS 2 {distribution or 'from wheels, no ROS_DISTRO set'}, {middleware}")
    domain = environment.get("ROS_DOMAIN_ID", "0")
    # Our launch files and our starter choose this where the environment says nothing.
    reach = environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if reach == "LOCALHOST":
        yield Finding(Level.OK, f"domain {domain}, our nodes are heard on this machine only")
    else:
        yield Finding(
            Level.NOTE,
            f"domain {domain}, discovery range {reach}: other machines may command the arms",
            "unset ROS_AUTOMATIC_DISCOVERY_RANGE, unless part of the robot runs on another machine",
        )


def look_at_providers(wanted: Provider, run: Callable[[Provider], None] = probe) -> Iterator[Finding]:
    """Each execution provider, by running a graph on it."""
    for provider in (*PROVIDERS, ENGINE):
        try:
            run(provider)
        except (DependencyError, UserError) as error:
            level = Level.MISSING if provider == wanted else Level.NOTE
            yield Finding(level, f"provider {provider} does not run", str(error))
            continue
        yield Finding(Level.OK, f"provider {provider} runs")


def look_at_gpu(find: Callable[[str], str | None] = shutil.which) -> Iterator[Finding]:
    """The NVIDIA driver, if there is one."""
    program = find("nvidia-smi")
    if program is None:
        yield Finding(Level.NOTE, "no NVIDIA driver", "needed for providers cuda and tensorrt only")
        return
    query = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    done = _answer_of(query)
    if done is None:
        yield Finding(Level.NOTE, f"nvidia-smi has not answered within {COMMAND_S:g} s", "reboot")
        return
    for line in done.stdout.splitlines():
        yield Finding(Level.OK, f"GPU: {line}")
    if done.returncode:
        yield Finding(
            Level.NOTE, f"nvidia-smi: {done.stderr.strip() or done.stdout.strip()}", "see the driver"
        )


def look_at_camera(
    serial_no: str, *, needed: bool, devices: Callable[[], list[tuple[str, str]]] | None = None
) -> Iterator[Finding]:
    """The RealSense cameras that are connected."""
    absent = Level.MISSING if needed else Level.NOTE
    try:
        found = describe(librealsense()) if devices is None else devices()
    except DependencyError as error:
        yield Finding(absent, "pyrealsense2 cannot be imported", str(error))
        return
    for _, text in found:
        yield Finding(Level.OK, text)
    if not found:
        yield Finding(absent, "no RealSense is connected", "see its cable, a USB 3 port, and its udev rules")
    elif needed and serial_no not in [serial for serial, _ in found]:
        yield Finding(
            Level.MISSING,
            f"the profile's camera_node.serial_no {serial_no or '(none)'} is not connected",
            f"set it to one of {', '.join(serial for serial, _ in found)}",
        )


def look_at_clock(find: Callable[[str], str | None] = shutil.which) -> Iterator[Finding]:
    """Whether the wall clock is kept by a time server; the stamps of two machines must agree."""
    mend = "timedatectl set-ntp true; matters where camera, policy and arms are on several machines"
    program = find("timedatectl")
    if program is None:
        yield Finding(Level.NOTE, "whether the wall clock is synchronised is unknown: no timedatectl", mend)
        return
    query = [program, "show", "--property=NTPSynchronized", "--value"]
    done = _answer_of(query)
    if done is None:
        yield Finding(Level.NOTE, f"timedatectl has not answered within {COMMAND_S:g} s", mend)
        return
    if done.stdout.strip() == "yes":
        yield Finding(Level.OK, "the wall clock is synchronised")
    else:
        yield Finding(Level.NOTE, "the wall clock is not synchronised", mend)


def look_at_scheduling(
    governor: Path = GOVERNOR, loop: Callable[[], tuple[str, Sequence[float]]] | None = None
) -> Iterator[Finding]:
    """Real-time rights, the processor's governor, and how late a control loop is called here and now."""
    scheduling, lateness_s = (loop or _run_a_loop)()
    if scheduling.startswith(ORDINARY):
        yield Finding(
            Level.NOTE,
            f"a control loop's thread is {scheduling.partition(',')[0]}",
            "add '@realtime - rtprio 90' to /etc/security/limits.d/, and yourself to the group",
        )
    else:
        yield Finding(Level.OK, f"a control loop runs with {scheduling}")
    if governor.is_file() and (kept := governor.read_text().strip()) != "performance":
        yield Finding(
            Level.NOTE, f"the processor's governor is {kept}", "sudo cpupower frequency-set -g performance"
        )
    p99_s = float(np.percentile(lateness_s, 99))
    late = p99_s > JITTER_BAR_S
    yield Finding(
        Level.NOTE if late else Level.OK,
        f"a loop of {JITTER_RATE_HZ:g} Hz is called late by {1e3 * p99_s:.2f} ms (p99 of {JITTER_S:g} s) on "
        f"{os.cpu_count()} processors",
        "end what else is running; a quiet machine stays below 2 ms" if late else "",
    )


def look_at_bundle(path: Path, profile: RobotProfile | None) -> Iterator[Finding]:
    """A bundle: its files, its golden frames, and its speed with the robot's provider."""
    provider: Provider = profile.policy_node.provider if profile else "cpu"
    threads = profile.policy_node.threads if profile else 1
    try:
        bundle = read_bundle(path)
        if profile is not None:
            bundle.require_cameras(profile.policy_node.cameras)
            asked_hz, given_hz = profile.arm_bridge.action_rate_hz, bundle.manifest.action.rate_hz
            if asked_hz != given_hz:
                raise UserError(
                    f"its actions are of {given_hz:g} Hz, arm_bridge.action_rate_hz is {asked_hz:g}"
                )
        policy = OnnxPolicy(bundle, provider=provider, threads=threads)
        worst = verify_golden(bundle, policy)
    except UserError as error:
        yield Finding(Level.MISSING, f"bundle {path} cannot be run", str(error))
        return
    latency_s = _latencies(policy, bundle)
    slowest_s, chunk = float(np.percentile(latency_s, 99)), bundle.manifest.action
    holds_s = chunk.chunk_length / chunk.rate_hz
    late = slowest_s >= holds_s
    yield Finding(
        (Level.NOTE if profile is None else Level.MISSING) if late else Level.OK,
        f"bundle {path} ({bundle.fingerprint[:12]}) on {policy.running_provider}: golden frames within "
        f"{worst.max():.1e} rad, a chunk in {1e3 * np.percentile(latency_s, 50):.1f} ms "
        f"(p99 {1e3 * slowest_s:.1f})",
        f"a chunk is out of date when it comes, it holds {1e3 * holds_s:.0f} ms of actions: choose another "
        "policy_node.provider, or a machine with a GPU"
        if late
        else "",
    )


def _latencies(policy: OnnxPolicy, bundle: Bundle) -> list[float]:
    """Return how long answers to a golden frame took [s]."""
    golden = bundle.golden
    found: list[float] = []
    while len(found) < FEWEST_ANSWERS or (len(found) < ANSWERS and sum(found) < ANSWERS_S):
        answer = policy.infer_arrays(golden.images[0], golden.instruction[0], golden.proprio[0])
        found.append(answer.latency_s)
    return found


def look(profile: RobotProfile | None, bundle: Path | None) -> Iterator[Finding]:
    """Look at everything."""
    yield from look_at_python()
    yield from look_at_ros(os.environ, importlib.import_module)
    yield from look_at_gpu()
    yield from look_at_providers(profile.policy_node.provider if profile else "cpu")
    camera = profile.camera_node if profile else None
    needed = camera is not None and camera.driver == "realsense"
    yield from look_at_camera(camera.serial_no if camera else "", needed=needed)
    yield from look_at_clock()
    yield from look_at_scheduling()
    if bundle is not None:
        yield from look_at_bundle(bundle, profile)


def _answer_of(query: list[str]) -> subprocess.CompletedProcess[str] | None:
    """Return what a program said, None where it does not end in time."""
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    except subprocess.TimeoutExpired:
        return None


def _run_a_loop() -> tuple[str, list[float]]:
    loop = ControlLoop(lambda now_s: None, 1 / JITTER_RATE_HZ, priority=REALTIME_PRIORITY)
    loop.start()
    time.sleep(JITTER_S)
    loop.stop()
    return loop.scheduling, loop.lateness_s()


def doctor(arguments: Sequence[str] | None = None) -> int:
    """Print what was found; return 1 where something that is needed is missing."""
    parser = argparse.ArgumentParser(
        prog="dygro-doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--robot", help="name of a robot profile, or path of its YAML file")
    parser.add_argument("--bundle", type=Path, help="folder of a policy bundle")
    options = parser.parse_args(arguments)
    profile = read_profile(options.robot) if options.robot else None
    missing = 0
    for finding in look(profile, options.bundle):
        print(f"{finding.level.value:8s}{finding.what}", flush=True)
        if finding.mend:
            print(f"{'':8s}  -> {finding.mend}", flush=True)
        missing += finding.level is Level.MISSING
    print(f"{missing} missing" if missing else "nothing that is needed is missing")
    return 1 if missing else 0


def main() -> None:
    """Run the doctor."""
    run_main(doctor)


if __name__ == "__main__":
    main()
