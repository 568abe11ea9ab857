"""Who may use the page, and what it refuses: over real HTTP, with what an attacker would send."""

import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from page_fixtures import ServedPage, served

from dygro_ros.errors import UserError
from dygro_ros.evaluation.page.access import LARGEST_BODY_BYTES
from dygro_ros.evaluation.page.serve import PageServer
from dygro_ros.evaluation.session import Phase

JUDGE = {"action": "judge", "trial": 1, "attempt": 1, "verdict": "success", "points": 100}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPage]:
    with served(tmp_path_factory.mktemp("access"), countdown_s=0) as found:
        yield found


@pytest.fixture
def client(page: ServedPage) -> Iterator[httpx.Client]:
    """Who has opened the address with the token."""
    with httpx.Client(base_url=page.root) as found:
        answer = found.get("/", params={"token": page.server.token})
        assert answer.status_code == 303 and answer.headers["location"] == "/"
        yield found


def nothing_happened(page: ServedPage) -> bool:
    return page.sitting.session.view().phase is Phase.SCENE and not page.record.finished


def test_the_token_goes_into_a_cookie_that_no_script_reads(page: ServedPage) -> None:
    answer = httpx.get(page.server.address)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert page.server.address.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    "path", ["/", "/state", "/events", "/camera", "/reference", "/static/page.js", "/report"]
)
def test_without_the_token_nothing_is_told(page: ServedPage, path: str) -> None:
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"cookie": f"dygro_{page.server.port}=wrong"},
        {"cookie": 'x="\\'},
    ):
        assert httpx.get(page.root + path, headers=headers).status_code == 403
    assert httpx.get(page.root + "/", params={"token": "wrong"}).status_code == 403
    # Only the page's own address takes the token; everything else wants the cookie.
    assert httpx.get(page.root + "/state", params={"token": page.server.token}).status_code == 403
    answer = httpx.get(page.root + "/state", headers={"authorization": f"Bearer {page.server.token}"})
    assert answer.status_code == 200


def test_the_pages_of_others_are_refused(
    page: ServedPage, client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"https://127.0.0.1:{page.server.port}"},
        {"origin": f"http://127.0.0.1:{page.server.port + 1}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    )
    with caplog.at_level(logging.WARNING):
        for headers in foreign:
            for path in ("/act", "/stop", "/here", "/report"):
                assert client.post(path, json=JUDGE, headers=headers).status_code == 403
    assert "requests from other pages are refused" in caplog.text and nothing_happened(page)
    own = {"origin": page.root, "sec-fetch-site": "same-origin"}
    assert client.post("/here", headers=own).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8642", "", "[::1", "127.0.0.1.evil.example"])
def test_a_name_that_was_bent_to_point_here_is_refused(
    page: ServedPage, client: httpx.Client, host: str
) -> None:
    assert client.get("/state", headers={"host": host}).status_code in (400, 421)


def test_what_names_this_machine_is_taken(page: ServedPage, client: httpx.Client) -> None:
    for host in ("localhost", f"LOCALHOST:{page.server.port}", "192.168.7.7", "[::1]", socket.gethostname()):
        assert client.get("/state", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the request"),
        (b"{", "JSON"),
        (b"[" * 20_000, ""),
        (b"\xff\xfe", ""),
        (b"null", ""),
        (b"[]", ""),
        (json.dumps({"action": "explode"}).encode(), "tag"),
        (json.dumps(JUDGE | {"trial": "1"}).encode(), "trial"),
        (json.dumps(JUDGE | {"trial": 10**400}).encode(), "trial"),
        (json.dumps(JUDGE | {"points": float("nan")}).encode(), "points"),
        (json.dumps(JUDGE | {"points": 1e308}).encode(), "points"),
        (json.dumps(JUDGE | {"verdict": "won"}).encode(), "verdict"),
        (json.dumps(JUDGE | {"note": "x" * 2001}).encode(), "note"),
        (json.dumps(JUDGE | {"note": "\ud800"}).encode(), "note"),
        (json.dumps(JUDGE | {"more": 1}).encode(), "more"),
        (json.dumps(JUDGE | {"action": ["judge"]}).encode(), ""),
    ],
)
def test_a_malformed_body_is_refused_in_a_sentence(
    page: ServedPage, client: httpx.Client, body: bytes, sentence: str
) -> None:
    answer = client.post("/act", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and sentence in answer.json()["error"]
    assert nothing_happened(page)


def test_what_the_plan_or_the_moment_does_not_allow_is_refused(
    page: ServedPage, client: httpx.Client
) -> None:
    cases: tuple[tuple[dict[str, Any], int, str], ...] = (
        (JUDGE, 409, "cannot judge trial 1 now: it is in phase scene"),
        ({"action": "start", "trial": 2, "attempt": 1}, 409, "trial 1, attempt 1, is at hand"),
        ({"action": "start", "trial": 1, "attempt": 2}, 409, "trial 1, attempt 1, is at hand"),
        (
            {"action": "correct", "trial": 1, "verdict": "success", "points": 100},
            400,
            "has no outcome to correct",
        ),
    )
    for body, status, sentence in cases:
        answer = client.post("/act", json=body)
        assert answer.status_code == status and sentence in answer.json()["error"]
    assert nothing_happened(page)


def test_a_large_body_is_refused_before_it_is_read(page: ServedPage, client: httpx.Client) -> None:
    large = b" " * (LARGEST_BODY_BYTES + 1)
    assert client.post("/act", content=large).status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(LARGEST_BODY_BYTES // 1024 + 1):
            yield b" " * 1024

    assert client.post("/act", content=chunks()).status_code == 413
    assert client.get("/state").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/%2e%2e/ledger.py",
        "/static//etc/passwd",
        "/static/..%5capp.py",
        "/static/page.js%00.py",
        "/../../etc/passwd",
        "/reference/../../sealed.json",
        "/sealed.json",
        "/run/sealed.json",
        "/docs",
        "/openapi.json",
        "/" + "a" * 5000,
    ],
)
def test_tricks_with_paths_find_nothing(page: ServedPage, client: httpx.Client, path: str) -> None:
    with socket.create_connection(("127.0.0.1", page.server.port), timeout=10) as raw:
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {page.server.token}\r\n"
        raw.sendall(f"{head}Connection: close\r\n\r\n".encode())
        answer = b""
        while part := raw.recv(65536):
            answer += part
    assert answer.split()[1] in (b"400", b"404"), answer[:200]
    assert b"import" not in answer and b"root:" not in answer


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"A" * 70_000,
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ],
)
def test_what_is_no_http_does_no_harm(page: ServedPage, client: httpx.Client, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", page.server.port), timeout=10) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        assert b" 200 " not in connection.recv(4096)
    assert client.get("/state").status_code == 200


def test_a_websocket_is_not_spoken(page: ServedPage, client: httpx.Client) -> None:
    upgrade = {
        "upgrade": "websocket",
        "connection": "upgrade",
        "sec-websocket-key": "x",
        "sec-websocket-version": "13",
    }
    assert client.get("/events/x", headers=upgrade).status_code in (400, 403, 404, 426)


def test_every_answer_says_what_a_browser_may_do_with_it(page: ServedPage, client: httpx.Client) -> None:
    for answer in (client.get("/"), client.get("/state"), client.get("/nothing"), httpx.get(page.root)):
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_an_address_that_is_taken_is_said(page: ServedPage) -> None:
    with pytest.raises(UserError, match=r"cannot listen on 127\.0\.0\.1, port \d+: Address already in use"):
        PageServer(page.sitting, page.picture, "127.0.0.1", page.server.port)
    with pytest.raises(UserError, match=r"cannot listen on 127\.0\.0\.1, port 70000: .*0-65535"):
        PageServer(page.sitting, page.picture, "127.0.0.1", 70000)
    with pytest.raises(UserError, match=r"cannot listen on nowhere\.invalid, port 0: .*; see --host"):
        PageServer(page.sitting, page.picture, "nowhere.invalid", 0)


def test_the_state_tells_neither_code_names_nor_policies(
    page: ServedPage, client: httpx.Client, tmp_path: Path
) -> None:
    text = client.get("/state").text
    for secret in (*page.record.seal.codes, "new", "old", "bundles"):
        assert f'"{secret}' not in text
