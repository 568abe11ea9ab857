import subprocess
import sys

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
