"""The text of a message's definition, as a recording needs it to be readable by others.

ROS 2 packages from wheels come without their .msg files, but each message class knows its fields.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

# Names of the IDL that .msg files call otherwise.
PRIMITIVES = {"boolean": "bool", "octet": "byte", "float": "float32", "double": "float64"}
BASIC = {"bool", "byte", "char", "string", "wstring", "float32", "float64"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
_SEQUENCE = re.compile(r"^sequence<(?P<item>.+?)(?:, (?P<most>\d+))?>$")
_ARRAY = re.compile(r"^(?P<item>.+)\[(?P<size>\d+)\]$")
_BOUNDED = re.compile(r"^(?P<item>w?string)<(?P<most>\d+)>$")
_SEPARATOR = "=" * 80


def type_name(kind: type[Any]) -> str:
    """Return a message class's name, such as `sensor_msgs/msg/JointState`."""
    package = kind.__module__.split(".")[0]
    return f"{package}/msg/{kind.__name__}"


def message_text(kind: type[Any]) -> str:
    """Return a message's definition followed by those of all messages in it, in the form of .msg files."""
    parts, waiting, seen = [], [kind], {kind}
    while waiting:
        current = waiting.pop(0)
        lines = []
        for name, idl in current.get_fields_and_field_types().items():
            field, inner = _field(idl)
            lines.append(f"{field} {name}")
            if inner is not None and inner not in seen:
                seen.add(inner)
                waiting.append(inner)
        text = "\n".join(lines) + "\n"
        if current is not kind:
            package, _, name = type_name(current).split("/")
            text = f"{_SEPARATOR}\nMSG: {package}/{name}\n{text}"
        parts.append(text)
    return "".join(parts)


def _field(idl: str) -> tuple[str, type[Any] | None]:
    """Return a field's type as .msg files write it, and the class of the message that it holds, if any."""
    if found := _SEQUENCE.match(idl):
        item, inner = _field(found["item"])
        return f"{item}[<={found['most']}]" if found["most"] else f"{item}[]", inner
    if found := _ARRAY.match(idl):
        item, inner = _field(found["item"])
        return f"{item}[{found['size']}]", inner
    if found := _BOUNDED.match(idl):
        return f"{found['item']}<={found['most']}", None
    name = PRIMITIVES.get(idl, idl)
    if name in BASIC:
        return name, None
    package, _, message = name.partition("/")
    return name, getattr(importlib.import_module(f"{package}.msg"), message)
