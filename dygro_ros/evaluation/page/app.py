"""The page's routes: what is shown, what may be asked, and the stop, which comes before everything else."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from dygro_ros.errors import NotAllowed, UserError
from dygro_ros.evaluation.live_picture import LivePicture
from dygro_ros.evaluation.page.actions import Action, perform
from dygro_ros.evaluation.page.state import page_state
from dygro_ros.evaluation.plan import reference_picture
from dygro_ros.evaluation.sitting import Sitting

STATIC = Path(__file__).parent / "static"
LOOK_S = 0.02
STATE_PERIOD_S = 0.1
# A connection over which nothing goes is found dead only when something is sent [s].
ANYTHING_S = 5.0
BOUNDARY = "picture"
# The report is one file with its styles and figures in it.
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
log = logging.getLogger(__name__)


def make_app(
    sitting: Sitting,
    picture: LivePicture,
    ends: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """Return the page; `Access` belongs in front of it.

    Args:
        sitting: What the page shows and asks.
        picture: The head camera's.
        ends: Whether the server is about to end, and with it what pages listen to.
        clock: Monotonic clock [s].
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    session = sitting.session
    # A stop never waits behind other requests.
    stopping = ThreadPoolExecutor(4, "stop")

    def state() -> dict[str, Any]:
        return page_state(session, picture.age_s())

    @app.get("/")
    async def page() -> Response:
        return FileResponse(STATIC / "index.html")

    @app.get("/state")
    def get_state() -> dict[str, Any]:
        return state()

    @app.get("/events")
    async def events() -> Response:
        return StreamingResponse(_events(state, ends, clock), media_type="text/event-stream")

    @app.get("/camera")
    async def camera() -> Response:
        return StreamingResponse(
            _pictures(picture, ends), media_type=f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        )

    @app.get("/reference")
    def reference() -> Response:
        view = session.view()
        task = None if view.trial is None else session.record.plan.tasks[view.trial.task]
        path = None if task is None or view.trial is None else reference_picture(task, view.trial.scene)
        if path is None:
            raise HTTPException(404, "the trial at hand has no reference picture")
        return FileResponse(path)

    @app.post("/stop")
    async def stop() -> dict[str, Any]:
        await asyncio.get_running_loop().run_in_executor(stopping, session.stop)
        return {}

    @app.post("/here")
    async def here() -> dict[str, Any]:
        sitting.seen(clock())
        return {}

    @app.post("/act")
    def act(action: Action) -> dict[str, Any]:
        sitting.seen(clock())
        perform(session, action)
        return state()

    @app.post("/report")
    def report() -> dict[str, Any]:
        sitting.report()
        return {}

    @app.get("/report")
    def get_report() -> Response:
        path = sitting.report_path
        if not path.exists():
            raise HTTPException(404, "there is no report yet")
        return FileResponse(path, headers={"content-security-policy": REPORT_POLICY})

    @app.exception_handler(UserError)
    async def refused(request: Request, error: UserError) -> Response:
        log.warning("refused: %s: %.500s", request.url.path, error)
        return JSONResponse({"error": str(error)}, 409 if isinstance(error, NotAllowed) else 400)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        sentence = f"{place or 'the request'}: {first['msg']}"
        log.warning("refused: %s: %.500r", request.url.path, sentence)
        return JSONResponse({"error": sentence}, 400)

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        log.warning("refused: %.100r: %s", request.url.path, error.detail)
        return JSONResponse({"error": error.detail}, error.status_code)

    app.mount("/static", StaticFiles(directory=STATIC))
    return app


async def _events(
    state: Callable[[], dict[str, Any]], ends: Callable[[], bool], clock: Callable[[], float]
) -> AsyncIterator[str]:
    """Yield the state as server-sent events, whenever it has changed."""
    sent, sent_s = "", 0.0
    while not ends():
        found = json.dumps(await run_in_threadpool(state))
        if found != sent or clock() - sent_s > ANYTHING_S:
            sent, sent_s = found, clock()
            yield f"data: {found}\n\n"
        await asyncio.sleep(STATE_PERIOD_S)


async def _pictures(picture: LivePicture, ends: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Yield each new picture as a part of a stream that every browser shows (Motion JPEG)."""
    count = 0
    while not ends():
        if picture.count != count:
            count, jpeg = await run_in_threadpool(picture.jpeg)
            head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            yield head.encode() + jpeg + b"\r\n"
        await asyncio.sleep(LOOK_S)
