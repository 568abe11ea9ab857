import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dygro_ros.errors import UserError, run_main

LONG_OUTPUT = """
from dygro_ros.errors import run_main

def main():
    for number in range(100_000):
        print(number)
    raise SystemExit(0)

run_main(main)
"""


def test_a_user_error_is_one_sentence_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise UserError("expected a cup, got a bowl")

    with pytest.raises(SystemExit) as ended:
        run_main(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("error: expected a cup, got a bowl\n")


@pytest.mark.parametrize(
    ("use", "answer"),
    [
        (lambda folder: (folder / "absent" / "film.png").write_bytes(b""), "No such file or directory"),
        (lambda folder: (folder / "file" / "run").mkdir(), "Not a directory"),
        (lambda folder: folder.write_bytes(b""), "Is a directory"),
        (lambda folder: (folder / "file").mkdir(), "File exists"),
    ],
)
def test_a_path_that_the_system_refuses_is_one_sentence_and_code_2(
    use: Callable[[Path], object], answer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as ended:
        run_main(lambda: use(tmp_path) and None)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"error: cannot read or write: {tmp_path}" in said
    assert said.endswith(f": {answer}\n")


def test_a_full_disk_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(SystemExit) as ended:
        run_main(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("error: cannot read or write: No space left on device\n")


@pytest.mark.parametrize(
    "bug", [OSError("no errno: a library's own"), OSError(errno.EBADF, "Bad file descriptor")]
)
def test_an_error_that_no_path_explains_keeps_its_traceback(bug: OSError) -> None:
    def main() -> None:
        raise bug

    with pytest.raises(OSError) as raised:
        run_main(main)
    assert raised.value is bug


def test_a_reader_that_leaves_causes_no_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LONG_OUTPUT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "0\n"
    process.stdout.close()
    assert process.wait(timeout=30) == 141
    assert process.stderr.read() == ""
    process.stderr.close()
