"""One process of a kind on a machine."""

import os
import signal
import subprocess
import sys

import pytest

from dygro_ros.errors import UserError
from dygro_ros.sole_process import sole_process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Unix sockets without a file are Linux's own")
DOMAIN = {"ROS_DOMAIN_ID": f"test {os.getpid()}"}
HOLD = """
import sys
from dygro_ros.sole_process import sole_process
with sole_process("arm_bridge"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder():
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        env=os.environ | DOMAIN,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_one_is_refused_by_the_first_ones_number(holder):
    with (
        pytest.raises(
            UserError, match=rf"arm_bridge already runs .* domain test \d+ \(process {holder.pid}\): end what"
        ),
        sole_process("arm_bridge", patience_s=0.0, environment=DOMAIN),
    ):
        pass
    with sole_process("policy_node", patience_s=0.0, environment=DOMAIN):
        pass
    with sole_process("arm_bridge", patience_s=0.0, environment={"ROS_DOMAIN_ID": "another"}):
        pass


def test_a_killed_one_leaves_nothing_and_an_ending_one_is_waited_for(holder):
    holder.send_signal(signal.SIGKILL)
    with sole_process("arm_bridge", patience_s=20.0, environment=DOMAIN):
        pass
    with sole_process("arm_bridge", patience_s=0.0, environment=DOMAIN):
        pass


def test_an_empty_domain_is_domain_0():
    name = f"node {os.getpid()}"
    with (
        sole_process(name, environment={"ROS_DOMAIN_ID": ""}),
        pytest.raises(UserError, match="in ROS domain 0"),
        sole_process(name, patience_s=0.0, environment={}),
    ):
        pass
