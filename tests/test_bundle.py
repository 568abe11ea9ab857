"""The policy bundle: what is written can be read, and anything that does not fit is refused by its name."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from policy_fixtures import answer, contract, golden_frames, graph_bytes, make_bundle, robot

from dygro_ros.bundle import Bundle, read_bundle, verify_golden, write_bundle
from dygro_ros.errors import BundleError
from dygro_ros.manifest import CropSpec


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A sound bundle."""
    return make_bundle(tmp_path / "bundle")


def leaves(value: Any, field: str = "", keys: tuple[Any, ...] = ()) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield (field name, keys) of each plain value below `value`."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{field}.{key}" if field else key, (*keys, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, f"{field}[{index}]", (*keys, index))
    else:
        yield field, keys


def other_value(value: Any) -> list[Any]:
    """Return values of the same type, and of another, that differ from `value`."""
    if isinstance(value, bool):
        return [not value, None, "yes"]
    if isinstance(value, str):
        return [value + "x", "other", "", None, 3]
    return [value + 1, value * 0.5 + 0.25, -value - 1, None, str(value), float("nan")]


def edit(path: Path, keys: tuple[Any, ...], value: Any, *, delete: bool = False) -> None:
    """Change or delete one value of manifest.json."""
    source = path / "manifest.json"
    manifest = json.loads(source.read_text())
    place = manifest
    for key in keys[:-1]:
        place = place[key]
    if delete:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    source.write_text(json.dumps(manifest))


def test_what_is_written_can_be_read(bundle: Bundle) -> None:
    again = read_bundle(bundle.path)
    assert again.manifest == bundle.manifest
    assert again.fingerprint == bundle.fingerprint
    assert sorted(p.name for p in bundle.path.iterdir()) == ["golden.npz", "manifest.json", "policy.onnx"]
    assert sorted(p.name for p in bundle.path.parent.iterdir()) == ["bundle"]
    np.testing.assert_array_equal(again.golden.chunk, golden_frames().chunk)


def test_every_changed_field_is_refused_by_its_name(bundle: Bundle) -> None:
    text = (bundle.path / "manifest.json").read_text()
    seen = 0
    for field, keys in leaves(json.loads(text)):
        name = field.removeprefix("files.").split("[")[0].split(".")[-1]
        for value in other_value(_at(json.loads(text), keys)):
            if value == _at(json.loads(text), keys):
                continue
            edit(bundle.path, keys, value)
            with pytest.raises(BundleError) as caught:
                read_bundle(bundle.path)
            assert name in str(caught.value), (field, value, str(caught.value))
            assert "\n" not in str(caught.value)
            seen += 1
            (bundle.path / "manifest.json").write_text(text)
    assert seen > 300


def test_every_missing_field_is_refused_by_its_name(bundle: Bundle) -> None:
    text = (bundle.path / "manifest.json").read_text()
    sections = [(key,) for key in json.loads(text)]
    for keys in [*sections, *(keys for _, keys in leaves(json.loads(text)))]:
        edit(bundle.path, keys, None, delete=True)
        named = [str(key) for key in keys if isinstance(key, str)][-1]
        with pytest.raises(BundleError, match=named):
            read_bundle(bundle.path)
        (bundle.path / "manifest.json").write_text(text)


@pytest.mark.parametrize("section", ["", "cameras.0", "joints.3", "residual", "training", "files"])
def test_an_unknown_field_is_refused(bundle: Bundle, section: str) -> None:
    keys = tuple(int(k) if k.isdigit() else k for k in section.split(".") if k)
    edit(bundle.path, (*keys, "surprise"), 1)
    with pytest.raises(BundleError, match="surprise"):
        read_bundle(bundle.path)


def test_reordered_joints_and_cameras_are_refused(bundle: Bundle) -> None:
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    swapped = copy.deepcopy(manifest)
    swapped["joints"][0], swapped["joints"][1] = swapped["joints"][1], swapped["joints"][0]
    (bundle.path / "manifest.json").write_text(json.dumps(swapped))
    with pytest.raises(BundleError, match=r"joints\[0\].name is \"left_joint2\".*left_joint1"):
        read_bundle(bundle.path)


def changed(part: str, **update: Any) -> dict[str, Any]:
    """Return a change of one part of the contract."""
    return {part: getattr(contract(), part).model_copy(update=update)}


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("action.chunk_length", changed("action", chunk_length=5)),
        ("residual.experts", changed("residual", experts=4)),
        ("residual.arm_bound", changed("residual", arm_bound=0.01)),
        ("residual.gripper_bound", changed("residual", gripper_bound=0.01)),
        ("residual.active_experts", changed("residual", active_experts=1)),
        ("cameras", {"cameras": contract().cameras * 2}),
        ("cameras[0].height", {"cameras": (contract().cameras[0].model_copy(update={"height": 8}),)}),
        ("joints", {"joints": contract().joints[1:]}),
        ("proprio.size", changed("proprio", size=13)),
        ("normalisation.scale", changed("normalisation", scale=(0.1,))),
        ("normalisation.proprio_std", changed("normalisation", proprio_std=(0.1,))),
        ("golden.frames", changed("golden", frames=2)),
        ("gripper.open", changed("gripper", open=0.08)),
        ("residual", changed("training", method="base")),
    ],
)
def test_a_contract_that_contradicts_itself_is_not_written(
    tmp_path: Path, field: str, change: dict[str, Any]
) -> None:
    with pytest.raises(BundleError) as caught:
        make_bundle(tmp_path / "bundle", **change)
    assert field in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_golden_chunks_outside_the_limits_are_refused(tmp_path: Path) -> None:
    golden = golden_frames()
    chunk = golden.chunk.copy()
    chunk[0, 0, 2] = 0.5
    with pytest.raises(BundleError, match=r"joints\[2\]"):
        write_bundle(tmp_path / "b", contract(), graph_bytes(), dataclasses.replace(golden, chunk=chunk))


@pytest.mark.parametrize("name", ["policy.onnx", "golden.npz"])
def test_a_damaged_file_is_refused(bundle: Bundle, name: str) -> None:
    place = bundle.path / name
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    place.write_bytes(bytes(data))
    with pytest.raises(BundleError, match=f"files.{name}.sha256"):
        read_bundle(bundle.path)
    place.write_bytes(bytes(data[:-1]))
    with pytest.raises(BundleError, match=f"files.{name}.bytes"):
        read_bundle(bundle.path)
    place.unlink()
    with pytest.raises(BundleError, match=f"files.{name}"):
        read_bundle(bundle.path)


def test_a_file_that_the_manifest_does_not_know_is_refused(bundle: Bundle) -> None:
    (bundle.path / "policy.onnx.data").write_bytes(b"weights")
    with pytest.raises(BundleError, match=r"policy.onnx.data is in the folder but not in the manifest"):
        read_bundle(bundle.path)


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "a/../../b", "a//b", "./a", "", "a\\b", "C:x"])
def test_a_path_that_leaves_the_bundle_is_refused(bundle: Bundle, name: str) -> None:
    edit(bundle.path, ("files", name), {"bytes": 1, "sha256": "0" * 64})
    with pytest.raises(BundleError, match="files: expected a relative path"):
        read_bundle(bundle.path)
    with pytest.raises(BundleError, match="expected a relative path"):
        write_bundle(
            bundle.path.parent / "n", contract(), graph_bytes(), golden_frames(), extra_files={name: b"x"}
        )


def test_a_link_out_of_the_bundle_is_refused(bundle: Bundle) -> None:
    outside = bundle.path.parent / "outside.onnx"
    os.replace(bundle.graph_path, outside)
    bundle.graph_path.symlink_to(outside)
    with pytest.raises(BundleError, match="leads out of the bundle"):
        read_bundle(bundle.path)


def test_tokenizer_files_travel_with_the_bundle(tmp_path: Path) -> None:
    write_bundle(
        tmp_path / "b",
        contract(),
        graph_bytes(),
        golden_frames(),
        extra_files={"tokenizer/vocab.json": b"{}"},
    )
    assert "tokenizer/vocab.json" in read_bundle(tmp_path / "b").manifest.files


def test_nothing_is_overwritten_without_being_told(bundle: Bundle, tmp_path: Path) -> None:
    before = bundle.fingerprint
    changed = contract().model_copy(update={"training": contract().training.model_copy(update={"seed": 7})})
    with pytest.raises(BundleError, match="exists"):
        write_bundle(bundle.path, changed, graph_bytes(), golden_frames())
    assert read_bundle(bundle.path).fingerprint == before
    again = write_bundle(bundle.path, changed, graph_bytes(), golden_frames(), overwrite=True)
    assert again.manifest.training.seed == 7
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.jpg").write_bytes(b"x")
    with pytest.raises(BundleError, match="no policy bundle"):
        write_bundle(other, changed, graph_bytes(), golden_frames(), overwrite=True)
    assert (other / "cat.jpg").exists()


def test_a_failed_verification_leaves_the_old_bundle(bundle: Bundle) -> None:
    def refuse(_: Bundle) -> None:
        raise BundleError("no parity")

    with pytest.raises(BundleError, match="no parity"):
        write_bundle(bundle.path, contract(), graph_bytes(), golden_frames(), overwrite=True, verify=refuse)
    assert read_bundle(bundle.path).fingerprint == bundle.fingerprint
    assert [p.name for p in bundle.path.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema_version": 2}'])
def test_a_manifest_that_is_none_is_refused(bundle: Bundle, text: str) -> None:
    (bundle.path / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        read_bundle(bundle.path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_bytes_never_make_another_error(bundle: Bundle, data: bytes) -> None:
    (bundle.path / "manifest.json").write_bytes(data)
    with pytest.raises(BundleError):
        read_bundle(bundle.path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a folder"):
        read_bundle(tmp_path / "nothing")
    with pytest.raises(BundleError, match=r"no manifest\.json"):
        read_bundle(tmp_path)


def test_a_robot_that_fits_is_accepted(bundle: Bundle) -> None:
    bundle.require(robot())


def test_a_robot_that_differs_is_refused_by_the_field(bundle: Bundle) -> None:
    fits = robot()
    camera = fits.cameras[0]
    joint = fits.joints[4]
    cropped = CropSpec(left=0.1, top=0.0, right=1.0, bottom=1.0)
    tighter = (*fits.joints[:4], joint.model_copy(update={"upper": 1.0}), *fits.joints[5:])
    cases: dict[str, dict[str, Any]] = {
        "cameras[0].name": {"cameras": (camera.model_copy(update={"name": "wrist_camera"}),)},
        "cameras[0].width": {"cameras": (camera.model_copy(update={"width": 320}),)},
        "cameras[0].rotation_deg": {"cameras": (camera.model_copy(update={"rotation_deg": 180}),)},
        "cameras[0].crop.left": {"cameras": (camera.model_copy(update={"crop": cropped}),)},
        "cameras": {"cameras": (camera, camera)},
        "joints[0].name": {"joints": fits.joints[::-1]},
        "joints[4].upper": {"joints": tighter},
        "gripper.open": {"gripper": fits.gripper.model_copy(update={"open": 0.07})},
        "proprio.size": {"proprio": fits.proprio.model_copy(update={"size": 7})},
        "action.rate_hz": {"rate_hz": 30.0},
    }
    for field, change in cases.items():
        with pytest.raises(BundleError) as caught:
            bundle.require(dataclasses.replace(fits, **change))
        assert f"{field} is " in str(caught.value)
        assert "the robot has" in str(caught.value)


def test_cameras_of_other_names_are_refused(bundle: Bundle) -> None:
    bundle.require_cameras(["head_camera"])
    with pytest.raises(BundleError, match=r'cameras\[0\]\.name is "head_camera", but the robot has "wrist"'):
        bundle.require_cameras(["wrist"])
    with pytest.raises(BundleError, match="cameras is "):
        bundle.require_cameras(["head_camera", "wrist"])


class _NumpyPolicy:
    """The numpy twin of the small policy, with an error put into one joint."""

    def __init__(self, error: float, joint: int = 9) -> None:
        self._error, self._joint = error, joint

    def infer_arrays(self, images: Any, instruction: Any, proprio: Any) -> Any:
        chunk, base_chunk, *_ = (part.copy() for part in answer(images, instruction, proprio))
        base_chunk[2, self._joint] += self._error
        return dataclasses.make_dataclass("Answer", ["chunk", "base_chunk"])(chunk, base_chunk)


def test_golden_frames_measure_the_error_of_each_joint(bundle: Bundle) -> None:
    worst = verify_golden(bundle, _NumpyPolicy(5e-5))
    assert worst[9] == pytest.approx(5e-5, rel=0.05)
    assert np.delete(worst, 9).max() < 1e-6
    with pytest.raises(BundleError, match="right_joint3"):
        verify_golden(bundle, _NumpyPolicy(2e-4))
    with pytest.raises(BundleError, match=r"golden\.tolerance_rad"):
        verify_golden(bundle, _NumpyPolicy(float("nan")))


def test_the_runtime_imports_neither_torch_nor_scipy() -> None:
    code = "import sys, dygro_ros.inference as _; print('torch' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def _at(value: Any, keys: tuple[Any, ...]) -> Any:
    for key in keys:
        value = value[key]
    return value
