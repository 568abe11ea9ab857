import os
import stat
from pathlib import Path

import pytest
import yaml

from dygro_ros import checkout
from dygro_ros.errors import DependencyError, UserError
from sim2real.libero.installation import (
    PINNED,
    WITHOUT_DEPENDENCIES,
    Installation,
    InstallationOptions,
    default_folder,
    install,
    installed,
)

# Plays an interpreter: notes what it is asked to do, and does as much of it as the installation looks at.
INTERPRETER = """#!/bin/sh
echo "$*" >> {log}
packages={folder}/.venv/lib/python3.11/site-packages
case "$*" in
*version_info*) echo "[3, {minor}]" ;;
*"-m venv"*) mkdir -p {folder}/.venv/bin $packages/libero/libero && cp "$0" {folder}/.venv/bin/python ;;
*"-m pip"*)
    for word in "$@"; do case $word in *==*)
        name=${{word%%==*}}; version=${{word##*==}}
        [ $name = torch ] && version=$version+cpu
        rm -rf $packages/$name-*.dist-info; mkdir $packages/$name-$version.dist-info
        printf 'Metadata-Version: 2.1\\nName: %s\\nVersion: %s\\n' $name $version \\
            > $packages/$name-$version.dist-info/METADATA ;;
    esac; done ;;
*index_tasks*) echo '{{}}' > {folder}/tasks.json ;;
esac
"""


def interpreter(tmp_path: Path, minor: int = 11) -> tuple[Path, Path]:
    """Return a playing interpreter and what it notes."""
    script, log = tmp_path / "python", tmp_path / "log"
    script.write_text(INTERPRETER.format(log=log, folder=tmp_path / "libero", minor=minor))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    log.write_text("")
    return script, log


def make(tmp_path: Path, assets: Path | None = None) -> tuple[Installation, list[str]]:
    """Install, and return what the interpreter had to do."""
    script, log = interpreter(tmp_path)
    installation = install(InstallationOptions(tmp_path / "libero", assets, script, "--no-input"))
    done = log.read_text().splitlines()
    log.write_text("")
    return installation, done


def test_what_is_missing_is_told_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match=r"not installed in .*libero; run: python -m sim2real.libero"):
        installed(tmp_path / "libero")
    installation, _ = make(tmp_path)
    assert installed(installation.folder) == installation
    for path in (installation.index, installation.folder / "config" / "config.yaml"):
        content = path.read_text()
        path.unlink()
        with pytest.raises(DependencyError, match=f"lacks {path}: it was left unfinished; run: "):
            installed(installation.folder)
        path.write_text(content)


def test_every_pin_is_installed_and_what_is_there_stays(tmp_path: Path) -> None:
    _, done = make(tmp_path)
    _, venv, pip, without, index = done
    assert "-m venv" in venv
    assert "index_tasks" in index
    assert set(f"{name}=={version}" for name, version in PINNED.items()) <= set(pip.split())
    assert "--no-input" in pip
    assert "--no-deps" in without
    assert set(f"{name}=={version}" for name, version in WITHOUT_DEPENDENCIES.items()) <= set(without.split())
    _, again = make(tmp_path)
    assert [line for line in again if "index_tasks" not in line] == []


def test_another_version_is_named_and_mended(tmp_path: Path) -> None:
    installation, _ = make(tmp_path)
    packages = installation.site_packages
    (packages / "mujoco-3.8.1.dist-info" / "METADATA").write_text("Name: mujoco\nVersion: 3.17.0\n")
    for file in (packages / "bddl-1.0.1.dist-info").iterdir():
        file.unlink()
    (packages / "bddl-1.0.1.dist-info").rmdir()
    with pytest.raises(DependencyError) as caught:
        installed(installation.folder)
    assert "mujoco: expected 3.8.1, found 3.17.0" in str(caught.value)
    assert "bddl: expected 1.0.1, found nothing" in str(caught.value)
    assert "run: python -m sim2real.libero.installation --folder" in str(caught.value)
    make(tmp_path)
    assert installed(installation.folder) == installation


def test_libero_asks_nothing_and_finds_the_users_assets(tmp_path: Path) -> None:
    for name in ("first", "second"):
        assets = tmp_path / name
        (assets / "scenes").mkdir(parents=True)
        installation, _ = make(tmp_path, assets)
        assert installation.assets.resolve() == assets
    config = yaml.safe_load((installation.folder / "config" / "config.yaml").read_text())
    assert set(config) == {"assets", "bddl_files", "benchmark_root", "datasets", "init_states"}
    assert Path(config["benchmark_root"]) == installation.libero
    variables = installation.environment()
    assert Path(variables["LIBERO_CONFIG_PATH"]) == installation.folder / "config"
    assert (variables["MUJOCO_GL"], variables["HF_HUB_OFFLINE"]) == ("egl", "1")


def test_what_is_beside_an_installed_package_of_ours_is_not_shown_to_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installation, _ = make(tmp_path)
    assert (Path(installation.environment()["PYTHONPATH"]) / "setup.py").is_file()
    monkeypatch.setattr(checkout, "ROOT", tmp_path)
    with pytest.raises(DependencyError, match="is no checkout of dygro_ros"):
        installation.environment()


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"assets, and .*nowhere has no folder scenes"):
        install(InstallationOptions(tmp_path / "libero", tmp_path / "nowhere"))
    script, _ = interpreter(tmp_path, minor=10)
    with pytest.raises(
        UserError, match=r"need Python 3.11 or 3.12, and .* is 3.10; name another with --python"
    ):
        install(InstallationOptions(tmp_path / "libero", None, script))
    with pytest.raises(UserError, match="--python /no/python does not run"):
        install(InstallationOptions(tmp_path / "libero", None, Path("/no/python")))
    (tmp_path / "assets" / "scenes").mkdir(parents=True)
    installation, _ = make(tmp_path)
    installation.assets.mkdir()
    with pytest.raises(UserError, match="is a folder already; move it away"):
        make(tmp_path, tmp_path / "assets")


def test_a_failed_step_can_be_done_again(tmp_path: Path) -> None:
    script, _ = interpreter(tmp_path)
    whole = script.read_text()
    script.write_text(whole.replace('*"-m pip"*)', '*"-m pip"*) exit 1'))
    with pytest.raises(DependencyError, match="what is done stays, run it again"):
        install(InstallationOptions(tmp_path / "libero", None, script))
    (tmp_path / "libero" / ".venv" / "bin" / "python").write_text(whole)
    _, done = make(tmp_path)
    assert not any("-m venv" in line for line in done)


def test_the_folder_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYGRO_LIBERO", "/somewhere")
    assert default_folder() == Path("/somewhere")
    monkeypatch.delenv("DYGRO_LIBERO")
    assert default_folder().parts[-2:] == ("environments", "libero")
    assert os.path.isabs(default_folder())
