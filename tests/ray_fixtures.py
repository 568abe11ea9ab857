"""What tests with a Ray of this machine share: the session, and a world that ends or stops its worker."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from rollout_fixtures import Counting, CountingWorld

from training.ray_session import RayConfig, RaySession


@contextmanager
def small_ray(cpus: int = 4) -> Iterator[RaySession]:
    """Give a Ray of this machine with a small object store; skips where there is none."""
    # Not imported here: a session has to come first.
    if importlib.util.find_spec("ray") is None:
        pytest.skip("the extra ray is not installed")
    with RaySession(RayConfig(), cpus=cpus, object_store_bytes=150_000_000) as session:
        yield session


@dataclass(frozen=True)
class TroubledWorld(CountingWorld):
    """Counts; but an episode of its second task ends the process or never goes on, once or always."""

    folder: str = ""
    """Where it is remembered which seeds have had their trouble."""

    def open(self, *, image_size, cameras):
        return Troubled(image_size, cameras, Path(self.folder))


DIES_ONCE, STOPS_ONCE, DIES_ALWAYS = 1, 2, 3
"""Seeds of the troubled task."""


class Troubled(Counting):
    def __init__(self, image_size, cameras, folder):
        super().__init__(image_size, cameras)
        self._folder = folder

    def reset(self, task, seed, *, companion=None):
        super().reset(task, seed)
        had = self._folder / str(seed)
        if task == "count" or (had.exists() and seed != DIES_ALWAYS):
            return
        had.touch()
        if seed == STOPS_ONCE:
            threading.Event().wait()
        os._exit(7)
