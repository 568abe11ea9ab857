"""The operator's console: `dygro-operator`. Type what the arms shall do; closing it stops arms that need one.

    run, hold, home, stop, reset       what the arm bridge shall do
    residual on, residual off          the whole policy, or its base alone
    do <text>                          the instruction, such as: do put the cup on the coaster
    quit

While it runs it sends the operator's heartbeat. It is no safety-rated stop: keep the arms' own within reach.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from dygro_ros.errors import UserError, run_main, unknown_name
from dygro_ros.layout import encode_instruction
from dygro_ros.nodes.bridge_client import answer_from, send_operators_heartbeat
from dygro_ros.nodes.managed import LATCHED
from dygro_ros.nodes.participation import participating, spinning

ANSWER_S = 5.0
ORDERS = ("run", "hold", "home", "stop", "reset")


class OperatorConsole(Node):
    """Asks the arm bridge, and tells what it says."""

    def __init__(self) -> None:
        """Begin the heartbeat and listen."""
        super().__init__("operator_console")
        send_operators_heartbeat(self, "here")
        self._instruction = self.create_publisher(String, "dygro/instruction", LATCHED)
        self._orders = {name: self.create_client(Trigger, f"arm_bridge/{name}") for name in ORDERS}
        self._residual = self.create_client(SetBool, "arm_bridge/use_residual")
        self.create_subscription(String, "dygro/mode", self._on_mode, LATCHED)

    def _on_mode(self, message: String) -> None:
        _say(f"arms: {message.data}")

    def obey(self, line: str) -> str:
        """Do what one line says and return the answer.

        Raises:
            UserError: The line is no order, or nobody answers.
        """
        order, _, rest = line.strip().partition(" ")
        if order in ORDERS and not rest:
            return self._ask(self._orders[order], Trigger.Request())
        if order == "residual" and rest in ("on", "off"):
            return self._ask(self._residual, SetBool.Request(data=rest == "on"))
        if order == "do":
            try:
                encode_instruction(rest)
            except ValueError as error:
                raise UserError(str(error)) from error
            self._instruction.publish(String(data=rest))
            return f"told: {rest}"
        raise unknown_name(
            "order", line.strip(), (*ORDERS, "residual on", "residual off", "do <text>", "quit")
        )

    def _ask(self, client: Any, request: Any) -> str:
        answer = answer_from(client, request, "the arm bridge", ANSWER_S)
        return ("" if answer.success else "refused: ") + str(answer.message)


def _say(text: str) -> None:
    print(text, flush=True)


def obey_all(console: OperatorConsole, lines: Iterable[str]) -> None:
    """Obey each line until `quit` or the end."""
    for line in lines:
        if line.strip() == "quit":
            return
        if not line.strip():
            continue
        try:
            _say(console.obey(line))
        except UserError as error:
            _say(f"error: {error}")


def console() -> int:
    """Run the console on standard input."""
    if "--help" in sys.argv[1:] or "-h" in sys.argv[1:]:
        print(__doc__)
        return 0
    with participating():
        node = OperatorConsole()
        with spinning(node), suppress(KeyboardInterrupt):
            obey_all(node, sys.stdin)
    return 0


def main() -> None:
    """Run the console."""
    run_main(console)


if __name__ == "__main__":
    main()
