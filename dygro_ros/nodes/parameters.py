"""A node's parameters are a section of the robot profile: declared from it, read back through it."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any, TypeVar

from pydantic import BaseModel
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from dygro_ros.errors import UserError
from dygro_ros.robot_profile import checked

Section = TypeVar("Section", bound=BaseModel)


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the parameter's name of each value of a section and of the sections within."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from leaves(inner, f"{prefix}{name}.")
        else:
            yield prefix + name


def declare(node: Node, model: type[BaseModel], changeable: Container[str] = ()) -> None:
    """Declare each value of a section, without a default: the profile says all of them.

    Types are left open here, because `read` can say in one sentence what is wrong with a value.
    """
    for name in leaves(model):
        read_only = name not in changeable
        node.declare_parameter(name, None, ParameterDescriptor(read_only=read_only, dynamic_typing=True))


def read(node: Node, model: type[Section]) -> Section:
    """Return the node's parameters as a section.

    Raises:
        UserError: A parameter is missing or of another kind; names it.
    """
    values: dict[str, Any] = {}
    for name in leaves(model):
        value = node.get_parameter(name).value
        if value is None:
            raise UserError(f"{node.get_name()}: parameter {name} is missing: give the robot profile's file")
        place = values
        *sections, last = name.split(".")
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = list(value) if hasattr(value, "__len__") and not isinstance(value, str) else value
    return checked(model, values, node.get_name())
