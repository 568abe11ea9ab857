"""What every test runs under: one thread, and off-screen rendering or a clear answer that it is missing."""

import ctypes
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Before anything imports torch, mujoco or matplotlib: they read these once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
if sys.platform == "linux" and os.environ.setdefault("MUJOCO_GL", "egl") == "egl":
    try:
        ctypes.CDLL("libEGL.so.1")
        ctypes.CDLL("libOpenGL.so.0")
    except OSError:
        # With "egl" and without these libraries mujoco does not even import; so only what renders shall fail.
        os.environ["MUJOCO_GL"] = "disable"

import pytest
from hypothesis import settings

from dygro_ros.errors import DependencyError

if TYPE_CHECKING:
    from nodes_fixtures import Onlooker

    from sim2real.libero.environment import LiberoEnvironment

# Machines that run tests are shared: a slow example is no failure.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

SKIP_SWITCH = "DYGRO_SKIP_RENDERING_TESTS"


def _rendering_error(error: BaseException | None) -> DependencyError | None:
    """Return the error's link that says that nothing renders here, if there is one."""
    while error is not None:
        if isinstance(error, DependencyError) and "render" in str(error):
            return error
        error = error.__cause__ or error.__context__
    return None


def _fail_or_skip() -> Generator[None, None, None]:
    """Turn "cannot render" into a failure that says how to mend it, or into the skip that was asked for."""
    try:
        yield
    except BaseException as error:
        if not (missing := _rendering_error(error)):
            raise
        if os.environ.get(SKIP_SWITCH) == "1":
            pytest.skip(f"{missing} (skipped as {SKIP_SWITCH}=1 asks)")
        pytest.fail(f"{missing}; {SKIP_SWITCH}=1 skips the tests that render", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    """Fixtures may render."""
    return (yield from _fail_or_skip())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Tests may render."""
    return (yield from _fail_or_skip())


@pytest.fixture(scope="module")
def own_domain() -> Iterator[None]:
    """Where the tests of running nodes are heard by nobody else, nor by another run of the tests."""
    import rclpy

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(20 + os.getpid() % 70))
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        rclpy.init()
        yield
        rclpy.try_shutdown()


@pytest.fixture(scope="module")
def node_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small policy's bundle, for running nodes."""
    from policy_fixtures import make_bundle

    return make_bundle(tmp_path_factory.mktemp("nodes") / "bundle").path


@pytest.fixture
def onlooker(own_domain: None) -> Iterator["Onlooker"]:
    """Who hears what the operator's tools would."""
    from nodes_fixtures import Onlooker

    node = Onlooker()
    yield node
    node.destroy_node()


@pytest.fixture(scope="session")
def libero() -> Iterator["LiberoEnvironment"]:
    """LIBERO, where it is installed; its processes serve all tests."""
    from sim2real.libero.environment import LiberoEnvironment

    try:
        environment = LiberoEnvironment(max_processes=2)
    except DependencyError as error:  # not there, or left unfinished: the sentence has the command
        pytest.skip(str(error))
    with environment:
        yield environment
