"""A connection to Ray: a cluster that is joined, or a Ray of this machine that starts and ends with the run.

Ray itself is imported when a session begins, not before: it reads at import whether to stay on the loopback
address. Knows neither episodes nor learners.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType

from dygro_ros.errors import DependencyError, UserError

LOOPBACK = "127.0.0.1"
# The switch by which Ray stays on the loopback address where its clusters are not supported (Windows, macOS).
# On Linux it replaces an address 127.0.0.1 that it is given by the machine's own, and listens on all.
_CLUSTER_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_KNOCK_TIMEOUT_S = 10.0
_REMEDY = "install it by .venv/bin/pip install -e '.[train,ray]'"


@dataclass(frozen=True)
class RayConfig:
    """Where Ray runs, and how long it may take over what it is asked."""

    address: str | None = None
    """Cluster to join, as HOST:PORT of its head; unset: a Ray of this machine alone, which no other machine
    can reach and which ends with the run."""
    start_limit_s: float = 180.0
    """Longest start of the rollout workers, and of the learner."""
    episode_limit_s: float = 600.0
    """Longest episode; a worker that takes longer is ended and its episode run again."""
    learner_limit_s: float = 3_600.0
    """Longest answer of the learner: its warm-up, or one iteration."""
    retries: int = 2
    """How often an episode is run again when its worker ended."""
    worker_gpus: float = 0.0
    """GPUs that Ray keeps for each rollout worker, 0.25 where four share one; without, it hides them all."""

    def check(self) -> None:
        """Refuse numbers that cannot work.

        Raises:
            UserError: A limit is not above 0, `retries` is below 0, `worker_gpus` is neither a part of a GPU
                nor a whole number of them, or the address is no HOST:PORT.
        """
        for name in ("start_limit_s", "episode_limit_s", "learner_limit_s"):
            if not getattr(self, name) > 0:
                option = name.replace("_", "-")
                raise UserError(f"--ray.{option} must be above 0, got {getattr(self, name)}")
        if self.retries < 0:
            raise UserError(f"--ray.retries must be at least 0, got {self.retries}")
        if not (0.0 <= self.worker_gpus <= 1.0 or (self.worker_gpus > 1.0 and self.worker_gpus.is_integer())):
            raise UserError(
                f"--ray.worker-gpus must be in 0..1 or a whole number of GPUs, got {self.worker_gpus:g}"
            )
        if self.address is not None:
            _host_and_port(self.address)


def import_ray() -> ModuleType:
    """Return the module `ray`.

    Raises:
        DependencyError: It is not installed.
    """
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise DependencyError(f"Ray cannot be imported ({error}): {_REMEDY}") from error
    return ray


def check_available(config: RayConfig) -> None:
    """Check without a session that one could begin, so that a run need not come to its second stage to fail.

    Raises:
        DependencyError: Ray is not installed.
        UserError: Nothing answers at the cluster's address.
    """
    if importlib.util.find_spec("ray") is None:
        raise DependencyError(f"Ray is not installed: {_REMEDY}")
    if config.address is not None:
        _knock(config.address)


class RaySession:
    """Ray, from `with` to its end."""

    def __init__(self, config: RayConfig, *, cpus: int, object_store_bytes: int | None = None) -> None:
        """Join the cluster, or start a Ray of this machine alone.

        Args:
            config: Where.
            cpus: Actors that a Ray of this machine has room for; says nothing to a cluster.
            object_store_bytes: Size of the object store of a Ray of this machine; None: Ray's own choice.

        Raises:
            UserError: There is no such cluster, or it refuses us: another version, another token.
            DependencyError: Ray is not installed, or was imported before and would listen to other machines.
        """
        config.check()
        self._folder: Path | None = None
        if config.address is None:
            self._start(cpus, object_store_bytes)
        else:
            self._join(config.address)

    def _start(self, cpus: int, object_store_bytes: int | None) -> None:
        if "ray" in sys.modules and os.environ.get(_CLUSTER_SWITCH) != "0":
            raise DependencyError(
                "ray was imported before the session began, and would listen to other machines: import it "
                f"later, or set {_CLUSTER_SWITCH}=0 before"
            )
        os.environ[_CLUSTER_SWITCH] = "0"
        # Ray starts its workers with niceness 15, under everything else that this machine does.
        os.environ.setdefault("RAY_worker_niceness", "0")
        # Other users of this machine can reach the loopback address too: a token of this process's own.
        if os.environ.setdefault("RAY_AUTH_MODE", "token") == "token":
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        self._ray = import_ray()
        # Not TMPDIR: the path of a Unix socket has at most 107 characters, and Ray adds 65 to this.
        self._folder = Path(tempfile.mkdtemp(prefix="ray_", dir="/tmp"))
        try:
            self._ray.init(
                address="local",
                num_cpus=cpus,
                object_store_memory=object_store_bytes,
                include_dashboard=False,
                # As spawned processes have it: Ray's workers look where they were started, not where we do.
                runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}},
                logging_level=logging.ERROR,
                _node_ip_address=LOOPBACK,
                _temp_dir=str(self._folder),
            )
            (node,) = self._ray.nodes()
            if node["NodeManagerAddress"] != LOOPBACK:
                raise DependencyError(
                    f"Ray {self._ray.__version__} is at {node['NodeManagerAddress']}, expected {LOOPBACK}: "
                    "of the version in setup.py it is known that it stays there"
                )
        except BaseException:
            self.close()
            raise

    def _join(self, address: str) -> None:
        _knock(address)
        self._ray = import_ray()
        refusals = (ConnectionError, RuntimeError, ValueError, self._ray.exceptions.RayError)
        try:
            self._ray.init(address=address, logging_level=logging.ERROR)
        except refusals as error:
            raise UserError(
                f"the Ray at --ray.address {address} cannot be joined ({' '.join(str(error).split())}): "
                f"this machine must be one of it (ray start --address={address}), with its RAY_AUTH_MODE and "
                "RAY_AUTH_TOKEN"
            ) from error

    @property
    def temporary(self) -> Path | None:
        """Folder of a Ray of this machine, gone when it has ended; None in a cluster."""
        return self._folder

    def close(self) -> None:
        """Leave the cluster, or end the Ray of this machine."""
        self._ray.shutdown()
        if self._folder is not None:
            # Its last processes may be writing their logs still.
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> RaySession:
        """Return the session."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the session."""
        self.close()


def reason_of(error: BaseException) -> str:
    """Return in one line why an actor ended, from Ray's error of a dozen lines."""
    text = " ".join(str(error).split())
    found = re.search(r"Worker exit type: (\S+) Worker exit detail: (.*?)(?: Some common causes|$)", text)
    return f"{found[1]}, {found[2].rstrip('.')}" if found else text.rstrip(".")


def _knock(address: str) -> None:
    host, port = _host_and_port(address)
    try:
        socket.create_connection((host, port), timeout=_KNOCK_TIMEOUT_S).close()
    except OSError as error:
        raise UserError(
            f"nothing answers at --ray.address {address} ({error}): start the head of the cluster there by "
            f"ray start --head --port={port}"
        ) from error


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise UserError(f"--ray.address must be HOST:PORT of the cluster's head, got {address!r}")
    return host, int(port)
