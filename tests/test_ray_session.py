"""Joining and starting Ray; what goes wrong before there is one needs none."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from ray_fixtures import small_ray

from dygro_ros.errors import DependencyError, UserError
from training.ray_session import RayConfig, RaySession, check_available, reason_of

LISTENING = "0A"


def family(parent):
    """Return this process's number and its descendants', from /proc."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(stat.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found = {parent}
    while more := {child for child, p in parents.items() if p in found} - found:
        found |= more
    return found


def listening_sockets():
    """Return {inode: hexadecimal address} of every TCP socket that listens on this machine."""
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path("/proc/net", name).read_text().splitlines()[1:]
    ]
    return {row[9]: row[1].rpartition(":")[0] for row in rows if row[3] == LISTENING}


def inodes_of(process):
    for descriptor in Path(f"/proc/{process}/fd").glob("*"):
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            yield target[len("socket:[") : -1]


def test_a_ray_of_this_machine_listens_to_this_machine_alone_and_leaves_nothing():
    loopback = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
    with small_ray(1) as session:
        folder, started = session.temporary, family(os.getpid())
        sockets = listening_sockets()
        addresses = [
            sockets[inode] for process in started for inode in inodes_of(process) if inode in sockets
        ]
    assert len(addresses) >= 4  # head, node, object manager, driver
    assert set(addresses) <= set(loopback)
    assert folder is not None and not folder.exists()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            RayConfig(address="10.0.0.5"),
            "--ray.address must be HOST:PORT of the cluster's head, got '10.0.0.5'",
        ),
        (RayConfig(address="ray://head:10001"), "must be HOST:PORT"),
        (RayConfig(address="head:70000"), "must be HOST:PORT"),
        (RayConfig(episode_limit_s=0.0), "--ray.episode-limit-s must be above 0, got 0.0"),
        (RayConfig(start_limit_s=float("nan")), "--ray.start-limit-s must be above 0, got nan"),
        (RayConfig(learner_limit_s=-1.0), "--ray.learner-limit-s must be above 0, got -1.0"),
        (RayConfig(retries=-1), "--ray.retries must be at least 0, got -1"),
        (RayConfig(worker_gpus=-0.5), "--ray.worker-gpus must be in 0..1 or a whole number of GPUs, got"),
        (RayConfig(worker_gpus=1.5), "a whole number of GPUs, got 1.5"),
        (RayConfig(worker_gpus=float("inf")), "a whole number of GPUs, got inf"),
    ],
)
def test_mistakes_are_named(config, words):
    with pytest.raises(UserError) as caught:
        config.check()
    assert words in str(caught.value)


def test_a_cluster_that_does_not_answer_is_named():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        for use in (check_available, lambda config: RaySession(config, cpus=1)):
            with pytest.raises(UserError, match=f"answers at --ray.address {address} .*ray start --head"):
                use(RayConfig(address=address))


def test_a_missing_ray_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    with pytest.raises(DependencyError, match=r"pip install -e '.\[train,ray\]'"):
        RaySession(RayConfig(), cpus=1)
    monkeypatch.setattr("importlib.util.find_spec", {}.get)
    with pytest.raises(DependencyError, match=r"pip install -e '.\[train,ray\]'"):
        check_available(RayConfig())


def test_a_ray_that_was_imported_too_early_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", sys)
    monkeypatch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", raising=False)
    with pytest.raises(DependencyError, match="would listen to other machines"):
        RaySession(RayConfig(), cpus=1)


def test_the_options_need_no_ray():
    probe = "import sys, training.ray_session; sys.exit('ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", probe], check=True, cwd=Path(__file__).parents[1])


def test_a_reason_is_one_line():
    text = (
        "The actor died unexpectedly before finishing this task.\n\tclass_name: A\n"
        "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit "
        "detail: Worker unexpectedly exits with a connection error code 2. End of file. Some common causes "
        "include: (1) the process was killed by the OOM killer"
    )
    expected = "SYSTEM_ERROR, Worker unexpectedly exits with a connection error code 2. End of file"
    assert reason_of(RuntimeError(text)) == expected
    assert reason_of(RuntimeError("The node\n died.")) == "The node died"
