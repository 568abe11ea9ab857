"""The policy server, spoken to over a real websocket by a client that frames as RoboTwin's does."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import cv2
import msgpack_numpy
import numpy as np
import pytest
from policy_fixtures import CHUNK, answer, cameras, make_bundle
from robotwin_client import Client, Refused, encode, frame
from robotwin_fixtures import client_observation, task_env
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from dygro_ros.errors import UserError
from dygro_ros.layout import encode_instruction
from sim2real.robotwin import policy_server
from sim2real.robotwin.observations import fit_pictures, from_policy_client
from sim2real.robotwin.policy import RobotwinPolicy
from sim2real.robotwin.policy_server import PolicyServer
from sim2real.robotwin.trials import Trials

ROOT = Path(__file__).resolve().parents[1]
SIGNALLING_NAN = 0x7FF0000000000001
CASE = {"task_name": "beat_block_hammer", "seed": 100000, "instruction": "hit", "action_type": "joint"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("server") / "bundle").path


@pytest.fixture(scope="module")
def policy(bundle: Path) -> RobotwinPolicy:
    return RobotwinPolicy(bundle)


def converse(server: PolicyServer, talk: Callable[[Client], Awaitable[Any]]) -> Any:
    """Let a client talk to the server and return what comes of it."""

    async def both() -> Any:
        async with server.listening("127.0.0.1", 0) as listening:
            port = next(iter(listening.sockets)).getsockname()[1]
            async with connect(f"ws://127.0.0.1:{port}", max_size=None) as connection:
                return await asyncio.wait_for(talk(Client(connection)), 30)

    return asyncio.run(both())


def serving(policy: RobotwinPolicy) -> PolicyServer:
    return PolicyServer(policy, Trials("bundle", "0" * 64, None))


def expected_chunk(observation: dict[str, Any]) -> np.ndarray[Any, Any]:
    seen = from_policy_client(observation, ("head_camera",))
    images = fit_pictures(seen, cameras())
    return answer(images, encode_instruction(seen.instruction), seen.joints)[0]


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return what `infer` carries, with one entry of the observation replaced."""
    observation = client_observation()
    node = observation
    *parts, last = path.split(".")
    for part in parts:
        node = node[part]
    node[last] = value
    return {"observation": observation}


def array(**entries: Any) -> dict[bytes, Any]:
    """Return an array of three numbers as it is on the wire, some of its entries replaced."""
    encoded: dict[bytes, Any] = msgpack_numpy.encode(np.zeros(3, np.float32))
    return {**encoded, **{name.encode(): value for name, value in entries.items()}}


def oversized_jpeg() -> bytes:
    """Return a JPEG that says that it has 65,000 x 65,000 pixels."""
    data = bytes(cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1])
    size = data.index(b"\xff\xc0") + 5
    return data[:size] + b"\xfd\xe8" * 2 + data[size + 4 :]


def flat(action: dict[str, Any]) -> np.ndarray[Any, Any]:
    names = [f"{side}_{part}_joint_state" for side in ("left", "right") for part in ("arm", "ee")]
    assert sorted(action) == sorted(names)
    return np.concatenate([action[name] for name in names])


def test_an_episode_from_first_to_last(policy: RobotwinPolicy) -> None:
    server = serving(policy)

    async def talk(client: Client) -> list[dict[str, Any]]:
        assert (await client.request("hello", {}))["ok"] is True
        assert await client.call("prepare_case", CASE) is None
        assert await client.call("reset", CASE) is None
        await client.call("update_obs", {"will": "be replaced before it is sent"})
        await client.call("update_obs", client_observation())
        actions = await client.call("get_action")
        assert (await client.request("heartbeat", {}))["ok"] is True
        assert await client.call("trial_end", {**CASE, "success": True}) is None
        return list(actions)

    actions = converse(server, talk)
    assert len(actions) == CHUNK
    chunk = expected_chunk(client_observation())
    np.testing.assert_allclose([flat(action) for action in actions], chunk, atol=1e-5)
    assert actions[0]["left_arm_joint_state"].shape == (6,) and actions[0]["left_ee_joint_state"].shape == (
        1,
    )
    assert server.trials.summary()["beat_block_hammer"]["successes"] == 1


def test_it_drives_the_stand_in_to_success(policy: RobotwinPolicy) -> None:
    with task_env() as env:

        async def talk(client: Client) -> bool:
            await client.call("reset", CASE)
            while not env.eval_success and env.take_action_cnt < env.step_lim:
                seen = env.get_obs()
                observation = client_observation(env.get_instruction())
                observation["vision"]["cam_head"]["color"] = seen["observation"]["head_camera"]["rgb"]
                for side in ("left", "right"):
                    arm, gripper = (seen["joint_action"][f"{side}_{part}"] for part in ("arm", "gripper"))
                    observation["state"][f"{side}_arm_joint_state"] = np.asarray(arm, np.float32)
                    observation["state"][f"{side}_ee_joint_state"] = np.asarray([gripper], np.float32)
                await client.call("update_obs", observation)
                for action in await client.call("get_action"):
                    env.take_action(flat(action))
            return bool(env.eval_success)

        assert converse(serving(policy), talk) is True


@pytest.mark.parametrize(
    ("kind", "payload", "message"),
    [
        ("infer", {}, "infer_failed: infer must carry an observation, got NoneType"),
        (
            "infer",
            {"observation": {"vision": {}}},
            "infer_failed: the observation must hold vision.cam_head.color",
        ),
        ("infer", {"observation": client_observation(" ")}, "infer_failed: instruction must be a text"),
        ("reset", {"action_type": "ee"}, "reset_failed: .* action_type must be joint or qpos, got 'ee'"),
        (
            "trial_end",
            {"task_name": "t", "seed": 1},
            "invalid_frame: trial_end must carry .* 't', 1 and None",
        ),
        ("trial_end", {"task_name": "t", "seed": True, "success": True}, "must carry .* True and True"),
        ("reset", {"action_type": np.zeros(2)}, r"action_type must be joint or qpos, got array\(\[0., 0.\]"),
        (
            "infer",
            changed("state.left_arm_joint_state", [[0.0], [0.0, 1.0]]),
            "infer_failed: state.left_arm_joint_state must be an array, got rows of different shapes",
        ),
        (
            "infer",
            changed("state.left_arm_joint_state", [1e300] * 6),
            "infer_failed: state: left_joint1 must be finite, got inf",
        ),
        (
            "infer",
            changed("state.left_arm_joint_state", np.full(6, SIGNALLING_NAN, np.uint64).view(np.float64)),
            "infer_failed: state: left_joint1 must be finite, got nan",
        ),
        (
            "infer",
            changed("vision.cam_head.color", [[[1, 2, 3]], [[1, 2]]]),
            "infer_failed: vision.cam_head.color must be an array, got rows of different shapes",
        ),
        (
            "infer",
            changed("vision.cam_head.color", oversized_jpeg()),
            "infer_failed: vision.cam_head.color must be a picture or a JPEG: .*PIXELS",
        ),
        ("infer", changed("vision.cam_head.color", b""), r"must be uint8 \(H, W, 3\), got uint8 \(0,\)"),
        ("infer", changed("vision.cam_head.color", {"a": 1}), r"must be uint8 \(H, W, 3\), got object \(\)"),
        ("infer", changed("vision", [1]), "the observation must hold vision.cam_head.color, .*beside: list"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence_and_the_talk_goes_on(
    policy: RobotwinPolicy, kind: str, payload: dict[str, Any], message: str
) -> None:
    async def talk(client: Client) -> None:
        with pytest.raises(Refused, match=message):
            await client.request(kind, payload)
        assert (await client.request("heartbeat", {}))["ok"] is True

    server = serving(policy)
    converse(server, talk)
    assert server.trials.summary() == {}


def test_a_wrong_envelope_is_refused_by_its_entry(policy: RobotwinPolicy) -> None:
    async def talk(client: Client) -> None:
        with pytest.raises(
            Refused, match=r"unknown_message_type: message_type must be one of hello, .*'dance'"
        ):
            await client.request("dance", {})
        kinds: tuple[Any, ...] = (["infer"], {"infer": 1}, np.zeros(2), None, "d" * 999)
        for kind in kinds:
            with pytest.raises(Refused, match=r"^unknown_message_type: .{,200}$"):
                await client.request("infer", {}, message_type=kind)
        with pytest.raises(Refused, match="invalid_frame: the envelope of 'infer': step"):
            await client.request("infer", {}, step="first")

    converse(serving(policy), talk)


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (b"\xc1", 1007, "expected a msgpack map"),
        (encode({**frame("infer", {}), "message_id": None}), 1007, "message_id must be a text, got None"),
        (encode({**frame("infer", {}), "message_id": ["m"]}), 1007, "message_id must be a text, got ['m']"),
        (encode(frame("infer", {"a": array(type="(,)f4")})), 1007, "one of numbers, got '(,)f4'"),
        (encode(frame("infer", {"a": array(type="f4,f4")})), 1007, "one of numbers, got 'f4,f4'"),
        (encode(frame("infer", {"a": array(type="<f5")})), 1007, "one of numbers, got '<f5'"),
        (encode(frame("infer", {"a": array(type="<f16")})), 1007, "one of numbers, got '<f16'"),
        (encode(frame("infer", {"a": array(shape=[0, 1 << 63], data=b"")})), 1007, "cannot have 0 bytes"),
        ("infer", 1003, "messages must be binary"),
    ],
)
def test_what_cannot_be_answered_ends_the_talk_with_a_reason(
    policy: RobotwinPolicy, data: bytes | str, code: int, reason: str
) -> None:
    async def talk(client: Client) -> None:
        await client._connection.send(data)
        with pytest.raises(ConnectionClosed) as caught:
            await client._connection.recv()
        assert caught.value.rcvd is not None and caught.value.rcvd.code == code
        assert reason in caught.value.rcvd.reason

    converse(serving(policy), talk)


def test_a_message_that_is_too_large_is_not_taken(
    policy: RobotwinPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_server, "MAX_MESSAGE_BYTES", 1000)

    async def talk(client: Client) -> None:
        await client._connection.send(bytes(1001))
        with pytest.raises(ConnectionClosed) as caught:
            await client._connection.recv()
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1009

    converse(serving(policy), talk)


def test_close_ends_the_talk_and_the_next_client_is_served(policy: RobotwinPolicy) -> None:
    server = serving(policy)

    async def close(client: Client) -> None:
        await client._connection.send(encode(frame("close", {"reason": ""})))
        with pytest.raises(ConnectionClosed):
            await client._connection.recv()

    async def greet(client: Client) -> bool:
        return bool((await client.request("hello", {}))["ok"])

    converse(server, close)
    assert converse(PolicyServer(policy, server.trials), greet)


def test_a_port_in_use_is_named(policy: RobotwinPolicy) -> None:
    async def twice() -> None:
        async with serving(policy).listening("127.0.0.1", 0) as listening:
            port = next(iter(listening.sockets)).getsockname()[1]
            with pytest.raises(
                UserError, match=rf"cannot listen on 127\.0\.0\.1:{port} .*choose another --port"
            ):
                async with serving(policy).listening("127.0.0.1", port):
                    pytest.fail("listened twice")

    asyncio.run(twice())


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("127.0.0.1", 99_999, r"--port must be 0 .any that is free. \.\. 65535, got 99999"),
        ("127.0.0.1", -1, r"--port must be .* got -1"),
        ("nowhere.invalid", 0, r"cannot listen on nowhere\.invalid:0 .*: --host must be an address of this"),
        ("a" * 64, 0, r"cannot listen on a+:0 .*: --host must be an address of this machine"),
        ("192.0.2.1", 0, r"cannot listen on 192\.0\.2\.1:0 .*: --host must be an address of this machine"),
    ],
)
def test_an_address_that_cannot_be_is_named_by_its_part(
    policy: RobotwinPolicy, host: str, port: int, words: str
) -> None:
    async def listen() -> None:
        async with serving(policy).listening(host, port):
            pytest.fail("listened")

    with pytest.raises(UserError, match=words):
        asyncio.run(listen())


def test_the_command_serves_on_this_machine_only_and_ends_with_a_summary(
    bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results.json"
    command = [sys.executable, "-m", "sim2real.robotwin.policy_server", "--bundle", str(bundle)]
    command += ["--port", "0", "--threads", "1", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        found = re.search(r"at (ws://127\.0\.0\.1:\d+); Ctrl-C ends", process.stdout.readline())
        assert found

        async def talk() -> None:
            async with connect(found[1]) as connection:
                client = Client(connection)
                for seed, success in ((100000, True), (100003, False)):
                    await client.call("trial_end", {**CASE, "seed": seed, "success": success})

        asyncio.run(talk())
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "beat_block_hammer: 1 of 2 (50.0 %" in printed
    assert "seeds passed over: 100001, 100002" in printed
    written = json.loads(out.read_text("utf-8"))
    assert written["tasks"]["beat_block_hammer"]["episodes"] == {"100000": True, "100003": False}
