"""Serves the page, on 127.0.0.1 unless another address is asked for, until it is interrupted."""

from __future__ import annotations

import ipaddress
import secrets
import socket

import uvicorn

from dygro_ros.errors import UserError
from dygro_ros.evaluation.live_picture import LivePicture
from dygro_ros.evaluation.page.access import Access
from dygro_ros.evaluation.page.app import make_app
from dygro_ros.evaluation.sitting import Sitting

TOKEN_BYTES = 24
# Pages keep their connections open for ever: this long after the end they are cut [s].
CUT_S = 1


class PageServer:
    """One page under one address."""

    def __init__(self, sitting: Sitting, picture: LivePicture, host: str, port: int) -> None:
        """Take the address; `run` serves.

        Args:
            sitting: What the page shows.
            picture: The head camera's.
            host: Address to listen on; 0.0.0.0 is every one of this machine.
            port: 0 takes any that is free.

        Raises:
            UserError: The address cannot be listened on.
        """
        self._socket = _listening(host, port)
        self.port = int(self._socket.getsockname()[1])
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        machine = socket.gethostname().lower()
        names = frozenset({"localhost", host.lower(), machine, f"{machine}.local"})
        page = make_app(sitting, picture, lambda: self._server.should_exit)
        # Cookies do not heed ports: two evaluations on one machine need two names.
        app = Access(page, self.token, f"dygro_{self.port}", names)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=CUT_S,
            )
        )
        shown = socket.gethostname() if _is_any(host) else host
        self.address = f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}/?token={self.token}"
        """What to open; whoever knows it may move the robot."""

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM."""
        self._server.run(sockets=[self._socket])

    def end(self) -> None:
        """Make `run` return."""
        self._server.should_exit = True


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen()
    except (OSError, OverflowError) as error:
        found.close()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"cannot listen on {host}, port {port}: {reason}; see --host and --port") from error
    return found
