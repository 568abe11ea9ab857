"""Serve a policy bundle to RoboTwin's evaluation of July 2026, by websocket.

    python -m sim2real.robotwin.policy_server --bundle runs/nano/bundle

RoboTwin's client (XPolicyLab's `WsModelClient`) says `prepare_case`, `reset`, then `update_obs` and
`get_action` until the episode ends, then `trial_end`. It keeps each observation to itself until it wants
actions: on the wire the two are one message, `infer`. The policy has no memory, so any number of clients may
share it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import reprlib
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from dygro_ros.errors import UserError, run_main
from dygro_ros.inference import Provider
from dygro_ros.layout import ARM_JOINTS, SIDES
from sim2real.robotwin.observations import from_policy_client
from sim2real.robotwin.policy import Output, RobotwinPolicy
from sim2real.robotwin.trials import Trials
from sim2real.robotwin.wire import (
    MAX_MESSAGE_BYTES,
    Frame,
    UnknownMessageError,
    WireError,
    read_frame,
    read_message,
    refusal,
    reply,
)

UNREADABLE, NOT_BINARY = 1007, 1003  # websocket close codes (RFC 6455, 7.4.1)
LARGEST_PORT = 65_535
_REASON_BYTES = 120  # a close frame has room for 123
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServePolicy:
    """Serve a policy bundle to RoboTwin's evaluation, by websocket."""

    bundle: Path
    """Policy bundle."""
    host: str = "127.0.0.1"
    """Address to listen on; any other than this machine's own lets whoever reaches it use the policy."""
    port: int = 19000
    """Port to listen on; 0 takes any that is free."""
    provider: Provider = "cpu"
    """What runs the graph."""
    threads: int = 4
    """ONNX Runtime's threads inside one operator."""
    output: Output = "chunk"
    """The policy's chunk, or that of its base policy without the residual."""
    execute: int | None = None
    """Actions of each chunk that are executed before the policy looks again; unset: all."""
    out: Path | None = None
    """JSON file for the outcomes that the client reports, with intervals and the seeds passed over."""


class PolicyServer:
    """Answers the messages of any number of clients with one policy."""

    def __init__(self, policy: RobotwinPolicy, trials: Trials) -> None:
        """Keep the policy and where outcomes go."""
        self._policy = policy
        self.trials = trials
        self._one_at_a_time = asyncio.Lock()

    @asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[Server]:
        """Listen until the block ends.

        Args:
            host: Address of this machine.
            port: 0 takes any that is free.

        Raises:
            UserError: The address cannot be listened on.
        """
        if not 0 <= port <= LARGEST_PORT:
            raise UserError(f"--port must be 0 (any that is free) .. {LARGEST_PORT}, got {port}")
        try:
            server = await serve(self._converse, host, port, max_size=MAX_MESSAGE_BYTES)
        except (OSError, UnicodeError) as error:
            # A name that cannot be looked up, one too long to be, or an address of another machine, for which
            # later editions of Python 3.12 give no number.
            of_host = isinstance(error, (socket.gaierror, UnicodeError)) or error.errno in (
                errno.EADDRNOTAVAIL,
                None,
            )
            remedy = "--host must be an address of this machine" if of_host else "choose another --port"
            raise UserError(f"cannot listen on {host}:{port} ({error}): {remedy}") from error
        async with server:
            yield server

    async def _converse(self, connection: ServerConnection) -> None:
        """Answer one client's messages in their order."""
        try:
            async for data in connection:
                if isinstance(data, str):
                    await connection.close(NOT_BINARY, "messages must be binary (msgpack), got a text")
                    return
                answer = await self.answer(data)
                if answer is None:
                    return
                await connection.send(answer)
        except WireError as error:
            _LOG.warning("a client was sent away: %s", error)
            await connection.close(UNREADABLE, str(error).encode()[:_REASON_BYTES].decode(errors="ignore"))
        except ConnectionClosed as error:
            _LOG.info("a client went: %s", error)

    async def answer(self, data: bytes) -> bytes | None:
        """Return the answer to one message, a refusal in a sentence among them; None ends the conversation.

        Raises:
            WireError: The message cannot be read, or says not how to answer it.
        """
        message = read_message(data)
        if not isinstance(message.get("message_id"), str):
            raise WireError(f"message_id must be a text, got {reprlib.repr(message.get('message_id'))}")
        try:
            frame = read_frame(message)
        except WireError as error:
            unknown = isinstance(error, UnknownMessageError)
            _LOG.warning("refused: %s", error)
            return refusal(message, "unknown_message_type" if unknown else "invalid_frame", str(error))
        if frame.message_type == "close":
            return None
        try:
            return reply(frame, await self._payload(frame))
        except UserError as error:
            code = {"infer": "infer_failed", "reset": "reset_failed"}.get(frame.message_type, "invalid_frame")
            _LOG.warning("refused %s: %s", frame.message_type, error)
            return refusal(message, code, str(error))

    async def _payload(self, frame: Frame) -> Mapping[str, Any]:
        if frame.message_type == "infer":
            async with self._one_at_a_time:
                return await asyncio.to_thread(self._infer, frame.payload)
        if frame.message_type == "reset":
            _require_joint_actions(frame.payload)
        elif frame.message_type == "trial_end":
            _LOG.info("%s", self.trials.record(*_outcome(frame.payload)))
        return {"ok": True}

    def _infer(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        observation = payload.get("observation")
        if not isinstance(observation, Mapping):
            raise UserError(f"infer must carry an observation, got {type(observation).__name__}")
        start_s = time.perf_counter()
        chunk = self._policy.actions(from_policy_client(observation, self._policy.cameras))
        actions = [_action(row) for row in chunk]
        return {"actions": actions, "latency_ms": (time.perf_counter() - start_s) * 1e3}


def _action(row: Any) -> dict[str, Any]:
    """Return one action, (14,), under the names of XPolicyLab's actions."""
    found = {}
    for index, side in enumerate(SIDES):
        start = index * (ARM_JOINTS + 1)
        found[f"{side}_arm_joint_state"] = row[start : start + ARM_JOINTS]
        found[f"{side}_ee_joint_state"] = row[start + ARM_JOINTS : start + ARM_JOINTS + 1]
    return found


def _require_joint_actions(payload: Mapping[str, Any]) -> None:
    kind = payload.get("action_type", "joint")
    if not isinstance(kind, str) or kind not in ("joint", "qpos"):
        raise UserError(
            f"the policy answers with joints, so action_type must be joint or qpos, got {reprlib.repr(kind)}"
        )


def _outcome(payload: Mapping[str, Any]) -> tuple[str, int, bool]:
    task, seed, success = (payload.get(name) for name in ("task_name", "seed", "success"))
    if not isinstance(task, str) or type(seed) is not int or seed < 0 or not isinstance(success, bool):
        got = "{}, {} and {}".format(*map(reprlib.repr, (task, seed, success)))
        raise UserError(f"trial_end must carry task_name, seed and success, got {got}")
    return task, seed, success


async def _serve(options: ServePolicy) -> None:
    policy = RobotwinPolicy(
        options.bundle,
        provider=options.provider,
        threads=options.threads,
        output=options.output,
        execute=options.execute,
    )
    server = PolicyServer(policy, Trials(str(options.bundle), policy.fingerprint, options.out))
    try:
        async with server.listening(options.host, options.port) as listening:
            host, port, *_ = next(iter(listening.sockets)).getsockname()
            print(f"{options.bundle} at ws://{host}:{port}; Ctrl-C ends", flush=True)
            await listening.serve_forever()
    finally:
        for line in server.trials.lines():
            print(line, flush=True)


def main() -> None:
    """Run the command line."""
    options = tyro.cli(ServePolicy)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("websockets").setLevel(logging.WARNING)
    asyncio.run(_serve(options))


if __name__ == "__main__":
    run_main(main)
