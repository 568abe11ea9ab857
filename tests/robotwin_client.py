"""An evaluation client that frames its messages as XPolicyLab's does, with msgpack-numpy itself.

Written after its wire format: the envelope's entries in their order, `message_id` behind `sent_at`, the
payload last; what a client has not is nil.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

import msgpack
import msgpack_numpy
from websockets.asyncio.client import ClientConnection

ANSWER_OF = {
    "hello": "hello_ack",
    "prepare_case": "prepare_case_ack",
    "reset": "reset_result",
    "infer": "infer_result",
    "trial_end": "trial_end_ack",
    "heartbeat": "heartbeat_ack",
}


def frame(kind: str, payload: dict[str, Any], **entries: Any) -> dict[str, Any]:
    """Return an envelope as the client fills it."""
    envelope = {
        "message_type": kind,
        "evaluation_id": "robotwin-eval",
        "action_case_id": None,
        "trial_id": None,
        "repeat_index": None,
        "step": 0,
        "sent_at": datetime.now(timezone.utc).isoformat(),
        "message_id": str(uuid4()),
        "payload": payload,
    }
    return {**envelope, **entries}


def encode(message: Any) -> bytes:
    """Return a message's bytes."""
    data: bytes = msgpack.packb(message, default=msgpack_numpy.encode, use_bin_type=True)
    return data


def decode(data: bytes) -> dict[str, Any]:
    """Return a message, its arrays restored."""
    message: dict[str, Any] = msgpack.unpackb(data, raw=False, object_hook=msgpack_numpy.decode)
    return message


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")


class Client:
    """RoboTwin's side of the conversation: call(func_name, obs) as its evaluation does."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._seen: Any = None
        self._step = 0

    async def request(self, kind: str, payload: dict[str, Any], **entries: Any) -> dict[str, Any]:
        sent = frame(kind, payload, **entries)
        await self._connection.send(encode(sent))
        answer = decode(bytes(await self._connection.recv(decode=False)))
        assert answer["message_id"] == sent["message_id"]
        assert answer["evaluation_id"] == sent["evaluation_id"]
        if answer["message_type"] == "error":
            raise Refused(answer["payload"]["code"], answer["payload"]["message"])
        assert answer["message_type"] == ANSWER_OF[kind]
        return dict(answer["payload"])

    async def call(self, func_name: str, obs: Any = None) -> Any:
        case, trial = "robotwin-case", "robotwin-trial"
        if func_name == "prepare_case":
            body = {"action_case_id": case, **obs}
            return (await self.request("prepare_case", body, action_case_id=case)).get("result")
        if func_name == "reset":
            self._step, self._seen = 0, None
            body = {"trial_id": trial, **obs}
            return (await self.request("reset", body, trial_id=trial, action_case_id=case)).get("result")
        if func_name == "update_obs":
            self._seen = obs
            return None
        if func_name == "get_action":
            body = {"observation": self._seen}
            found = await self.request("infer", body, trial_id=trial, action_case_id=case, step=self._step)
            self._step += 1
            return found["actions"]
        body = {"trial_id": trial, **obs}
        return (await self.request(func_name, body, trial_id=trial, action_case_id=case)).get("result")
