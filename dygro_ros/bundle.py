"""The policy bundle: write it, read it, and refuse it by the name of the field that does not fit.

A bundle is a folder: `policy.onnx` (large weights in `policy.onnx.data`), `manifest.json`, `golden.npz`
(fixed inputs and the training code's answers) and the tokenizer if the policy has one. Four things are held
against one another when a bundle is read: the manifest's own rules, the size and hash of each file, the copy
of the contract that was sealed into the golden frames at export, and the golden frames themselves (shapes,
limits, residual bound).
`Bundle.require` then compares with what the robot has, and `verify_golden` recomputes the answers.
Knows nothing of ONNX Runtime: `dygro_ros.inference` runs the graph.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from dygro_ros.errors import BundleError
from dygro_ros.golden import GoldenFrames, golden_contradictions, pack_golden, unpack_golden
from dygro_ros.manifest import (
    CameraSpec,
    Contract,
    FileSpec,
    GripperSpec,
    JointSpec,
    Manifest,
    ProprioSpec,
    differences,
    first_reason,
    inconsistencies,
)

GRAPH_FILE = "policy.onnx"
GOLDEN_FILE = "golden.npz"
MANIFEST_FILE = "manifest.json"
_MANIFEST_BYTES_MAX = 1 << 20


@dataclass(frozen=True)
class RobotInterface:
    """What the robot side, or a simulated cell, really has: compared with the manifest field by field."""

    cameras: tuple[CameraSpec, ...]
    """In the order in which pictures are stacked."""
    joints: tuple[JointSpec, ...]
    """In the order of state and command values."""
    gripper: GripperSpec
    proprio: ProprioSpec
    rate_hz: float
    """Control rate [Hz]."""


class Answer(Protocol):
    """The part of a policy's answer that golden frames check."""

    @property
    def chunk(self) -> NDArray[np.float32]:
        """Executed chunk, (h, 14) joint units."""

    @property
    def base_chunk(self) -> NDArray[np.float32]:
        """Base chunk, (h, 14) joint units."""


class Policy(Protocol):
    """Anything that answers one frame, such as `dygro_ros.inference.OnnxPolicy`."""

    def infer_arrays(
        self,
        images: NDArray[np.uint8],
        instruction: NDArray[np.uint8] | NDArray[np.int32],
        proprio: NDArray[np.float32],
    ) -> Answer:
        """Answer one frame: images (V, H, W, 3), instruction bytes (96,) or tokens (T,), proprio (14,)."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle."""

    path: Path
    manifest: Manifest
    golden: GoldenFrames
    fingerprint: str
    """SHA-256 of manifest.json, which holds the hash of every other file."""

    @property
    def graph_path(self) -> Path:
        """The ONNX graph."""
        return self.path / GRAPH_FILE

    def require(self, robot: RobotInterface) -> None:
        """Refuse to run on a robot that differs from what the policy was trained for.

        Raises:
            BundleError: Names each field that differs, what the bundle says and what the robot has.
        """
        manifest = self.manifest
        pairs = {
            "cameras": ([c.model_dump() for c in manifest.cameras], [c.model_dump() for c in robot.cameras]),
            "joints": ([j.model_dump() for j in manifest.joints], [j.model_dump() for j in robot.joints]),
            "gripper": (_plain(manifest.gripper), _plain(robot.gripper)),
            "proprio": (_plain(manifest.proprio), _plain(robot.proprio)),
            "action.rate_hz": (manifest.action.rate_hz, robot.rate_hz),
        }
        found = [item for name, (ours, theirs) in pairs.items() for item in differences(ours, theirs, name)]
        _refuse(found, self.path / MANIFEST_FILE, "the robot has")

    def require_cameras(self, names: Sequence[str]) -> None:
        """Refuse cameras of other names, or in another order, than the policy was trained on.

        Raises:
            BundleError: Names the first that differs.
        """
        wanted = [{"name": camera.name} for camera in self.manifest.cameras]
        found = differences(wanted, [{"name": name} for name in names], "cameras")
        _refuse(found, self.path / MANIFEST_FILE, "the robot has")


def write_bundle(
    out: Path,
    contract: Contract,
    graph: bytes,
    golden: GoldenFrames,
    *,
    extra_files: Mapping[str, bytes | Path] | None = None,
    overwrite: bool = False,
    verify: Callable[[Bundle], None] | None = None,
) -> Bundle:
    """Write a bundle beside `out`, read it back, and rename it into place.

    Args:
        out: Folder to make.
        contract: Everything of the manifest but the list of files.
        graph: The serialised ONNX model.
        golden: Fixed inputs and the training code's answers.
        extra_files: Tokenizer files and the graph's external data, by relative path: content, or the file to
            copy.
        overwrite: Replace an earlier bundle at `out`; anything else there is never replaced.
        verify: Called with the finished bundle before it gets its name; if it raises, `out` stays as it was.

    Raises:
        BundleError: `out` exists, or the parts contradict one another.
    """
    out = Path(out)
    is_bundle = (out / MANIFEST_FILE).is_file()
    if os.path.lexists(out) and not (overwrite and is_bundle):
        advice = "say overwrite to replace it" if is_bundle else "it is no policy bundle"
        raise BundleError(f"{out} exists and is not overwritten: {advice}")
    contents: dict[str, bytes | Path] = {GRAPH_FILE: graph, GOLDEN_FILE: pack_golden(golden, contract)}
    contents |= extra_files or {}
    files = {name: _file_spec(data) for name, data in sorted(contents.items())}
    manifest = Manifest(**dict(contract), files=files)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for name, data in contents.items():
            place = beside / _safe(name, out)
            place.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(data, Path):
                shutil.copyfile(data, place)
            else:
                place.write_bytes(data)
        (beside / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        beside.chmod(0o755)
        bundle = read_bundle(beside)
        if verify is not None:
            verify(bundle)
        if os.path.lexists(out):
            old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
            os.replace(out, old / out.name)
            os.replace(beside, out)
            shutil.rmtree(old)
        else:
            os.replace(beside, out)
    except BundleError as error:
        raise BundleError(str(error).replace(str(beside), str(out))) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return read_bundle(out)


def read_bundle(path: Path) -> Bundle:
    """Read and verify a bundle.

    Raises:
        BundleError: A file is missing, damaged or unsafe, or a field is missing, unknown, of another type, or
            contradicts another field, the golden frames or what was sealed at export; names the field.
    """
    path = Path(path)
    source = path / MANIFEST_FILE
    if not path.is_dir():
        raise BundleError(f"expected a policy bundle, but {path} is not a folder")
    if not source.is_file() or source.is_symlink():
        raise BundleError(f"expected a policy bundle, but {path} has no {MANIFEST_FILE}")
    if source.stat().st_size > _MANIFEST_BYTES_MAX:
        raise BundleError(f"{source}: larger than {_MANIFEST_BYTES_MAX} bytes, so it is no manifest of ours")
    text = source.read_bytes()
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise BundleError(f"{source}: {first_reason(error)}") from error
    _verify_files(path, manifest)
    try:
        golden, sealed = unpack_golden(path / GOLDEN_FILE)
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path / GOLDEN_FILE}: damaged golden frames: {error}") from error
    stated = manifest.model_dump(mode="json", exclude={"files"})
    _refuse(differences(stated, sealed), source, "at export it was")
    _refuse(inconsistencies(manifest), source, "the rest of the bundle implies")
    _refuse(golden_contradictions(manifest, golden), source, "the golden frames show")
    return Bundle(path, manifest, golden, hashlib.sha256(text).hexdigest())


def verify_golden(bundle: Bundle, policy: Policy) -> NDArray[np.float64]:
    """Recompute the golden frames with the policy that will run.

    Returns:
        Largest absolute difference to the training code per joint, (14,) [rad; fraction for grippers], over
        frames, chunk steps, and executed and base chunk.

    Raises:
        BundleError: A difference is above the manifest's tolerance; names the joint.
    """
    golden, manifest = bundle.golden, bundle.manifest
    worst = np.zeros(len(manifest.joints))
    for frame in range(golden.frames):
        answer = policy.infer_arrays(golden.images[frame], golden.instruction[frame], golden.proprio[frame])
        for name in ("chunk", "base_chunk"):
            wanted = getattr(golden, name)[frame].astype(np.float64)
            error = np.abs(getattr(answer, name) - wanted).max(axis=0)
            worst = np.maximum(worst, np.where(np.isfinite(error), error, np.inf))
    tolerance = manifest.golden.tolerance_rad
    if not (worst <= tolerance).all():
        joint = manifest.joints[int(worst.argmax())]
        raise BundleError(
            f"{bundle.path}: golden.tolerance_rad is {tolerance:g}, but the recomputed chunk differs from "
            f"the training code's by {worst.max():.3g} {joint.unit} at joint {joint.name}"
        )
    return worst


def _file_spec(data: bytes | Path) -> FileSpec:
    if isinstance(data, bytes):
        return FileSpec(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    with data.open("rb") as stream:
        return FileSpec(bytes=data.stat().st_size, sha256=_sha256(stream))


def _plain(section: Any) -> Any:
    return section.model_dump(mode="json")


def _refuse(found: Iterable[tuple[str, Any, Any]], source: Path, other: str) -> None:
    """Raise one sentence that names the first few contradictions; return if there are none."""
    items = list(found)
    if not items:
        return
    shown = "; ".join(
        f"{field} is {json.dumps(ours)}, but {other} {json.dumps(theirs)}"
        for field, ours, theirs in items[:4]
    )
    more = f"; and {len(items) - 4} more" if len(items) > 4 else ""
    raise BundleError(f"{source}: {shown}{more}")


def _safe(name: str, where: Path) -> Path:
    """Return a manifest's file name as a relative path.

    Raises:
        BundleError: The name is absolute, climbs out of the bundle, or is not in plain form.
    """
    pure = PurePosixPath(name)
    plain = str(pure) == name and "\\" not in name and ":" not in name and "\0" not in name
    if not plain or pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise BundleError(f"{where}: files: expected a relative path inside the bundle, got {name!r}")
    return Path(*pure.parts)


def _verify_files(path: Path, manifest: Manifest) -> None:
    """Hold the folder against the manifest: nothing missing, nothing more, sizes and hashes as stated."""
    source = path / MANIFEST_FILE
    for name in (GRAPH_FILE, GOLDEN_FILE):
        if name not in manifest.files:
            raise BundleError(f"{source}: files: expected an entry for {name}, found none")
    if MANIFEST_FILE in manifest.files:
        raise BundleError(f"{source}: files: {MANIFEST_FILE} cannot hold its own hash")
    root = path.resolve()
    for name, spec in manifest.files.items():
        place = path / _safe(name, source)
        if not place.resolve().is_relative_to(root):
            raise BundleError(f"{source}: files.{name}: leads out of the bundle to {place.resolve()}")
        if not place.is_file():
            raise BundleError(f"{source}: files.{name}: no such file in the bundle")
        size = place.stat().st_size
        if size != spec.bytes:
            raise BundleError(f"{source}: files.{name}.bytes is {spec.bytes}, but the file has {size}")
        with place.open("rb") as stream:
            found = _sha256(stream)
        if found != spec.sha256:
            raise BundleError(f"{source}: files.{name}.sha256 is {spec.sha256}, but the file has {found}")
    for place in sorted(path.rglob("*")):
        name = place.relative_to(path).as_posix()
        if not place.is_dir() and name != MANIFEST_FILE and name not in manifest.files:
            raise BundleError(f"{source}: files: {name} is in the folder but not in the manifest")


def _sha256(stream: Any) -> str:
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
