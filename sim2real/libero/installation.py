"""LIBERO in a virtual environment of its own: made from pinned versions, and checked before every use.

`python -m sim2real.libero.installation` makes it; what is there already stays, so it can be run again after
an interruption or an update of the pins.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import tyro

from dygro_ros.checkout import ROOT, source_root
from dygro_ros.errors import DependencyError, UserError, run_main
from dygro_ros.whole_file import write_text

DEFAULT_FOLDER = Path("environments/libero")
FOLDER_VARIABLE = "DYGRO_LIBERO"
# What LIBERO and robosuite import on the way to an environment, in versions that were seen to work together.
PINNED = {
    "torch": "2.13.0",
    "mujoco": "3.8.1",
    "numpy": "2.4.6",
    "numba": "0.68.1",
    "scipy": "1.17.1",
    "gymnasium": "1.4.0",
    "PyOpenGL": "3.1.10",
    "opencv-python-headless": "5.0.0.93",
    "h5py": "3.16.0",
    "easydict": "1.14",
    "termcolor": "3.3.0",
    "imageio": "2.38.1",
    "matplotlib": "3.11.2",
    "cloudpickle": "3.1.2",
    "networkx": "3.6.1",
    "huggingface_hub": "2.4.0",
    "future": "1.0.0",
    "jupytext": "1.19.6",
}
# Their own requirements ask for older versions of the above, and for much that no environment needs.
WITHOUT_DEPENDENCIES = {"hf-libero": "0.1.4", "robosuite": "1.4.0", "bddl": "1.0.1"}
PYTHONS = ((3, 11), (3, 12))  # numpy 2.4 and scipy 1.17 need 3.11
_INDEX = "tasks.json"


def default_folder() -> Path:
    """Return where LIBERO is looked for: what `DYGRO_LIBERO` names, else `environments/libero`."""
    return Path(os.environ.get(FOLDER_VARIABLE) or ROOT / DEFAULT_FOLDER).expanduser().absolute()


def mending_command(folder: Path) -> str:
    """Return the command that installs LIBERO there, or mends it."""
    return f"python -m sim2real.libero.installation --folder {folder}"


@dataclass(frozen=True)
class Installation:
    """Where the parts of an installation are; `installed` returns one that is whole."""

    folder: Path

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.folder / ".venv" / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        """Where its packages are; does not exist before the virtual environment does."""
        found = sorted((self.folder / ".venv" / "lib").glob("python3.*/site-packages"))
        return found[0] if found else self.folder / ".venv" / "lib" / "site-packages"

    @property
    def libero(self) -> Path:
        """LIBERO's inner package."""
        return self.site_packages / "libero" / "libero"

    @property
    def assets(self) -> Path:
        """Folder of meshes and textures, where LIBERO looks first; usually a link."""
        return self.libero / "assets"

    @property
    def index(self) -> Path:
        """What is known of every task (`tasks`)."""
        return self.folder / _INDEX

    def task_file(self, suite: str, task: str) -> Path:
        """File of a task's description, as LIBERO ships it."""
        return self.libero / "bddl_files" / suite / f"{task}.bddl"

    def initial_states(self, suite: str, task: str) -> Path:
        """File of a task's fixed initial states, shape (50, 1 + nq + nv) float64."""
        return self.folder / "initial_states" / suite / f"{task}.npy"

    def environment(self) -> dict[str, str]:
        """Return the environment variables under which its interpreter runs.

        One thread each for numerics and software rendering, unless set otherwise: processes share the cores.

        Raises:
            DependencyError: We are installed, but not as a checkout (`source_root`).
        """
        ours = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        return {
            "OMP_NUM_THREADS": "1",
            "LP_NUM_THREADS": "1",
            **ours,
            "PYTHONPATH": str(source_root()),
            "MUJOCO_GL": "egl",
            "PYOPENGL_PLATFORM": "egl",
            "HF_HUB_OFFLINE": "1",  # LIBERO would download missing assets
            "LIBERO_CONFIG_PATH": str(self.folder.resolve() / "config"),
        }


def wrong_versions(installation: Installation) -> dict[str, str]:
    """Return the pinned packages that are not there in their version, with what is there instead."""
    packages = distributions(path=[str(installation.site_packages)])
    there = {_normal(package.metadata["Name"]): package.version for package in packages}
    wrong = {}
    for name, version in {**PINNED, **WITHOUT_DEPENDENCIES}.items():
        found = there.get(_normal(name), "nothing")
        if found.split("+")[0] != version:  # a local label, such as +cpu, names a build of the same version
            wrong[name] = f"expected {version}, found {found}"
    return wrong


def _normal(name: str) -> str:
    return name.lower().replace("_", "-")


def installed(folder: Path | None = None) -> Installation:
    """Return the installation in a folder.

    Args:
        folder: None takes `default_folder`.

    Raises:
        DependencyError: It is not there, or other versions are; the message has the command that mends it.
    """
    installation = Installation(folder or default_folder())
    mend = f"run: {mending_command(installation.folder)}"
    if not installation.python.exists():
        raise DependencyError(f"LIBERO is not installed in {installation.folder}; {mend}")
    if wrong := wrong_versions(installation):
        listed = "; ".join(f"{name}: {text}" for name, text in wrong.items())
        raise DependencyError(
            f"LIBERO's environment {installation.folder} has other versions: {listed}; {mend}"
        )
    for path in (installation.index, installation.folder / "config" / "config.yaml"):
        if not path.exists():
            raise DependencyError(f"LIBERO's environment lacks {path}: it was left unfinished; {mend}")
    return installation


@dataclass(frozen=True)
class InstallationOptions:
    """Install LIBERO into a virtual environment of its own.

    Attributes:
        folder: Where to; None takes the environment variable DYGRO_LIBERO, else environments/libero.
        assets: LIBERO's folder of assets (it holds scenes/, textures/ and more), to be linked.
        python: Interpreter for it, Python 3.11 or 3.12.
        pip_args: Further arguments of pip install, such as an index.
    """

    folder: Path | None = None
    assets: Path | None = None
    python: Path = Path(sys.executable)
    pip_args: str = ""


def install(options: InstallationOptions) -> Installation:
    """Make the environment, or what of it is missing or wrong.

    Raises:
        UserError: The interpreter is of another version, or the assets are no such folder.
        DependencyError: A command of the installation failed.
    """
    # The installation's commands run in the checkout: what the user names counts from where he is.
    installation = Installation((options.folder or default_folder()).expanduser().absolute())
    interpreter = options.python.expanduser().absolute()
    if options.assets is not None and not (options.assets / "scenes").is_dir():
        raise UserError(
            f"--assets must be LIBERO's folder of assets, and {options.assets} has no folder scenes"
        )
    installation.folder.mkdir(parents=True, exist_ok=True)
    if not installation.python.exists():
        _check_python(interpreter)
        _run([interpreter, "-m", "venv", installation.folder / ".venv"])
    if wrong_versions(installation):
        pip = [installation.python, "-m", "pip", "install", *options.pip_args.split()]
        _run([*pip, *(f"{name}=={version}" for name, version in PINNED.items())])
        _run([*pip, "--no-deps", *(f"{name}=={version}" for name, version in WITHOUT_DEPENDENCIES.items())])
    if options.assets is not None:
        _link(installation.assets, options.assets)
    _write_config(installation)
    _run(
        [installation.python, "-m", "sim2real.libero.index_tasks", installation.folder],
        installation.environment(),
    )
    return installed(installation.folder)


def _check_python(python: Path) -> None:
    asked = "import sys, json; print(json.dumps(sys.version_info[:2]))"
    try:
        found = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"--python {python} does not run: {error}") from error
    if tuple(json.loads(found)) not in PYTHONS:
        expected = " or ".join(".".join(map(str, version)) for version in PYTHONS)
        raise UserError(
            f"LIBERO's pinned versions need Python {expected}, and {python} is "
            f"{'.'.join(map(str, json.loads(found)))}; name another with --python"
        )


def _run(command: list[str | Path], environment: Mapping[str, str] | None = None) -> None:
    try:
        subprocess.run(list(map(str, command)), env=environment, cwd=ROOT, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise DependencyError(
            f"LIBERO was not installed: {error}; what is done stays, run it again"
        ) from error


def _link(link: Path, assets: Path) -> None:
    """Point LIBERO's assets to the user's folder; a folder of their own that lies there is not touched."""
    if link.is_dir() and not link.is_symlink():
        raise UserError(f"--assets {assets}: {link} is a folder already; move it away to link another")
    beside = link.with_name("assets.tmp")
    beside.unlink(missing_ok=True)
    beside.symlink_to(assets.resolve(), target_is_directory=True)
    os.replace(beside, link)


def _write_config(installation: Installation) -> None:
    """Write what LIBERO would else ask for on standard input."""
    inner = installation.libero.resolve()
    paths = {
        "assets": inner / "assets",
        "bddl_files": inner / "bddl_files",
        "benchmark_root": inner,
        "datasets": installation.folder.resolve() / "datasets",
        "init_states": inner / "init_files",
    }
    config = installation.folder / "config"
    config.mkdir(exist_ok=True)
    write_text(
        config / "config.yaml", "".join(f"{name}: {json.dumps(str(p))}\n" for name, p in paths.items())
    )


def main() -> None:
    """Install LIBERO and say which tasks can run."""
    from sim2real.libero.tasks import describe

    print(describe(install(tyro.cli(InstallationOptions))))


if __name__ == "__main__":
    run_main(main)
