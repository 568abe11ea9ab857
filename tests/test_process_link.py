import os
import pickle
import select
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dygro_ros.errors import UserError
from sim2real.process_link import LinkError, ProcessLink, RemoteError

ROOT = Path(__file__).resolve().parents[1]
SERVER = """
import os, sys, threading
import numpy as np
from dygro_ros.errors import UserError
from sim2real.process_server import serve

def echo(**params):
    print("noise from a foreign library", flush=True)
    os.write(1, b"noise from its C code\\n")
    return params

def ask():
    try:
        return {"answer": input("where? ")}
    except EOFError:
        return {"answer": "end of file"}

def refuse(): raise UserError("the cup is not on the table")
def fail(): raise KeyError("knob")
def die():
    print("last words", file=sys.stderr, flush=True)
    os._exit(7)
def hang(): threading.Event().wait()
def chatter(lines):
    for line in range(lines):
        print("line", line, file=sys.stderr)
    return {"pid": os.getpid()}
def odd(): return {"success": np.bool_(True)}
def modules(): return {"names": sorted(name.split(".")[0] for name in sys.modules)}

def prepare():
    print("loading")
    if "refuse" in sys.argv: raise UserError("no assets")
    if "fail" in sys.argv: raise ImportError("no module named libero")
    if "hang" in sys.argv: hang()
    return {f.__name__: f for f in (echo, ask, refuse, fail, die, hang, chatter, odd, modules)}

serve(prepare)
"""


def start(*arguments: str, start_limit_s: float = 60.0, program: str = SERVER) -> ProcessLink:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, *arguments]
    return ProcessLink(command, "cup", environment=environment, start_limit_s=start_limit_s)


def test_values_and_arrays_come_back_as_they_were() -> None:
    arrays = {
        "picture": np.arange(2 * 300 * 400 * 3, dtype=np.uint8).reshape(2, 300, 400, 3),
        "joints": np.array([0.1, np.nan, -np.inf]),
        "columns": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "flags": np.array([True, False]),
        "scalar": np.array(3, dtype=np.int64),
        "nothing": np.zeros((0, 3), dtype=np.float32),
    }
    values = {"task": "turn on the stove", "seed": 7, "scale": 0.1 + 0.2, "deep": {"a": [1, None]}}
    with start() as link:
        for _ in range(2):  # the printed noise does not disturb the next answer either
            answer = link.call("echo", **arrays, **values)
    assert {name: answer[name] for name in values} == values
    for name, array in arrays.items():
        np.testing.assert_array_equal(answer[name], array)
        assert (answer[name].dtype, answer[name].shape) == (array.dtype, array.shape)
        assert answer[name].flags.writeable


def test_the_server_needs_numpy_alone_and_finds_no_standard_input() -> None:
    with start() as link:
        assert link.call("ask") == {"answer": "end of file"}
        assert not {"pydantic", "torch", "mujoco", "onnxruntime"} & set(link.call("modules")["names"])


def test_a_refusal_is_the_users_and_the_link_goes_on() -> None:
    with start() as link:
        with pytest.raises(UserError, match=r"^the cup is not on the table$"):
            link.call("refuse")
        with pytest.raises(UserError, match=r"unknown method 'jump': expected one of ask, chatter"):
            link.call("jump")
        assert link.call("echo", n=1) == {"n": 1}


@pytest.mark.parametrize(
    ("method", "error", "message"),
    [
        ("fail", "KeyError", "cup process failed at the call 'fail': KeyError: 'knob'"),
        ("odd", "FrameError", "neither JSON nor an array"),
    ],
)
def test_an_error_there_is_told_by_type_message_and_traceback(method: str, error: str, message: str) -> None:
    with start() as link:
        with pytest.raises(RemoteError, match=message) as caught:
            link.call(method)
        assert caught.value.kind == error
        assert 'File "<string>"' in str(caught.value) or "process_server.py" in str(caught.value)
        with pytest.raises(LinkError, match="was closed before the call 'echo'"):
            link.call("echo")


def test_an_error_there_is_told_also_from_a_worker_process() -> None:
    """A pool whose worker's error cannot be unpickled says only that it is broken."""
    error = RemoteError("the cup process failed at the call 'fail': KeyError: 'knob'", "KeyError")
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), back.kind) == (RemoteError, str(error), "KeyError")
    assert str(back) == "the cup process failed at the call 'fail': KeyError: 'knob'"


def test_a_death_is_told_with_exit_code_and_last_words() -> None:
    with start() as link, pytest.raises(LinkError, match=r"exit code 7 at the call 'die'[^$]*\nlast words$"):
        link.call("die")


def test_more_on_standard_error_than_a_pipe_holds_does_not_stop_it() -> None:
    with start() as link:
        assert link.call("chatter", lines=50_000) == {"pid": link.pid}


def test_a_call_or_start_without_end_is_ended() -> None:
    with start() as link:
        with pytest.raises(LinkError, match="did not finish the call 'hang' in time and was ended"):
            link.call("hang", limit_s=0.2)
        with pytest.raises(ProcessLookupError):
            os.kill(link.pid, 0)
    with pytest.raises(LinkError, match="did not finish its start in time"):
        start("hang", start_limit_s=0.5)


def test_what_hinders_the_start_is_told() -> None:
    with pytest.raises(UserError, match=r"^no assets$"):
        start("refuse")
    with pytest.raises(RemoteError, match="failed at its start: ImportError: no module named libero"):
        start("fail")
    with pytest.raises(LinkError, match=r"does not speak our protocol at its start.*b'hello th'"):
        start(program="print('hello there', flush=True); input()")
    with pytest.raises(LinkError, match=r"ended with exit code 1 at its start.*(?s:.)*ZeroDivisionError"):
        start(program="1 / 0")
    with pytest.raises(LinkError, match="cannot be started by /no/python"):
        ProcessLink(["/no/python"], "cup")


def test_closing_ends_it_also_amid_a_call() -> None:
    link = start()
    link.close()
    link.close()
    assert link._process.returncode == 0


PARENT = f"""
import os, sys, threading
from sim2real.process_link import ProcessLink
link = ProcessLink([sys.executable, "-c", {SERVER!r}], "cup")
print(link.pid, flush=True)
link.call("hang")
"""


def test_it_ends_with_its_parent_also_amid_a_call() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None
    child = os.pidfd_open(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    ended, _, _ = select.select([child], [], [], 30.0)
    os.close(child)
    assert ended
