"""The gate: the ASGI callable in front of Quart.

Every request passes here first. Its head is checked (`head`), its route looked up, and a body refused where the
route takes none; publishing is served here and not by Quart, which would gather the body without holding the
client back; the rest goes to Quart. Here also every failure ends: a `RatError` becomes a problem, anything else a
500 that says nothing and one line in the log, and a response that fails in its middle is broken off, so that its
reader sees that it is incomplete. Each request has an id, the client's `X-Request-Id` where it is well formed, and one
log line, without its query.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

import structlog
from quart import Quart
from werkzeug.exceptions import MethodNotAllowed as WrongMethod
from werkzeug.exceptions import NotFound as NoRoute
from werkzeug.routing import RequestRedirect

from ratsvc.core.figures import Figures
from ratsvc.core.trace import TRACEPARENT, TRACESTATE, trace_context
from ratsvc.errors import RatError, TooLarge, UnsupportedMediaType
from ratsvc.http_api import cors, head, problem
from ratsvc.http_api.exchange import ClientGone, Exchange, Message, Send
from ratsvc.http_api.guest import Guest
from ratsvc.http_api.problem import Reply
from ratsvc.observability.request import REQUEST_ID, Request, begin, current
from ratsvc.settings import Settings

if TYPE_CHECKING:
    from ratsvc.observability.tracing import Tracing

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
#: Endpoints whose bodies are read here and handed to Quart whole.
SMALL_BODIES = frozenset({"put_stream"})
SMALL_BODY_BYTES = 16 * 1024
#: The endpoint that is served here.
PUBLISH = "publish"
_SHOWN_PATH_BYTES = 256
#: What is asked for again and again by those who watch: not news.
_WATCHED = head.PROBES | {"/v1/status", "/v1/connections", "/v1/streams"}

log = structlog.get_logger("ratsvc.http")


class Gate:
    """An ASGI application.

    Args:
        app: the Quart app: its routes are the routes.
        publish: serves the endpoint `publish`: takes a stream's name and the exchange.
        settings: the service's.
        figures: where requests are counted.
        tracing: what traces publishes; None where it is off.
        guest: an app beside it; `app` has its routes too, without their views.
    """

    def __init__(
        self,
        app: Quart,
        publish: Callable[[str, Exchange], Awaitable[Reply]],
        settings: Settings,
        figures: Figures,
        tracing: Tracing | None = None,
        guest: Guest | None = None,
    ) -> None:
        self._app = app
        self._guests = dict.fromkeys(guest.app.view_functions, guest.app) if guest else {}
        self._guest_bodies = guest.body_bytes if guest else {}
        self._publish = publish
        self._settings = settings
        self._figures = figures
        self._tracing = tracing
        self._routes = app.url_map.bind("localhost")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await _refuse_websocket(send)
        else:
            await self._answer(Exchange(scope, receive, send, self._settings.limits))

    async def _answer(self, exchange: Exchange) -> None:
        started = time.perf_counter()
        self._figures.http_active += 1
        request = begin(_given_id(exchange.scope["headers"]))
        exchange.headers.append((REQUEST_ID.encode(), request.id.encode()))
        try:
            with exchange.exit_stack:
                await self._serve(exchange)
        except Exception as error:
            await self._failed(exchange, _first(error))
        finally:
            seconds = time.perf_counter() - started
            self._figures.http_active -= 1
            self._figures.answered(exchange.route, exchange.status or 499, seconds)
            if self._tracing is not None:
                self._traced(request, exchange)
            _log_access(exchange, seconds)

    async def _serve(self, exchange: Exchange) -> None:
        checked = exchange.accept(head.check(exchange.scope, self._settings))
        exchange.headers += cors.response_headers(checked.headers, self._settings)
        endpoint, arguments = self._route(checked)
        exchange.scope["path"] = checked.path
        exchange.route = endpoint or "options"
        if self._tracing is not None:
            _begin_trace(self._tracing, checked, endpoint)
        if endpoint != PUBLISH and endpoint not in SMALL_BODIES and endpoint not in self._guest_bodies:
            if checked.has_body:
                raise TooLarge("this route takes no body", field="body")
            if endpoint == "":
                methods = ", ".join(self._allowed(checked.path))
                more = cors.preflight(checked.headers, self._settings, methods)
                await exchange.reply(Reply(204, headers={"Allow": methods, **more}))
            else:
                await exchange.run(self._guests.get(endpoint, self._app))  # type: ignore[arg-type]
            return
        if checked.one(b"content-encoding") not in (None, "identity"):
            raise UnsupportedMediaType("the body must come without Content-Encoding", field="content-encoding")
        if endpoint == PUBLISH:
            await exchange.reply(await self._publish(arguments["name"], exchange))
        elif endpoint in self._guest_bodies:
            await exchange.run_reading(self._guests[endpoint], self._guest_bodies[endpoint])  # type: ignore[arg-type]
        else:
            await exchange.run(self._app, await exchange.small_body(SMALL_BODY_BYTES))  # type: ignore[arg-type]

    def _traced(self, request: Request, exchange: Exchange) -> None:
        status = exchange.status or 499
        failed = f"HTTP {status}" if status >= 400 or not exchange.complete else None
        assert self._tracing is not None
        self._tracing.answered(request, failed, {"http.response.status_code": status})

    def _route(self, checked: head.Head) -> tuple[str, dict[str, Any]]:
        """The endpoint and its arguments; "" for OPTIONS, which is answered here."""
        if checked.method not in METHODS:
            allowed = self._allowed(checked.path) or ["GET", "HEAD", "OPTIONS"]
            raise problem.MethodNotAllowed("this service does not take this method", allowed)
        if checked.method == "OPTIONS":
            if not self._allowed(checked.path):
                raise problem.NotFound("there is nothing at this path")
            return "", {}
        try:
            endpoint, arguments = self._routes.match(checked.path, checked.method)
        except WrongMethod:
            allowed = self._allowed(checked.path)
            raise problem.MethodNotAllowed(f"this path takes {', '.join(allowed)}", allowed) from None
        except (NoRoute, RequestRedirect):
            raise problem.NotFound("there is nothing at this path") from None
        return endpoint, dict(arguments)

    def _allowed(self, path: str) -> list[str]:
        return sorted(METHODS) if path == "*" else sorted(self._routes.allowed_methods(path))

    async def _failed(self, exchange: Exchange, error: Exception) -> None:
        """Says the error, or breaks the response off where it has begun: it returns without an end."""
        if isinstance(error, ClientGone | ConnectionError):
            return  # nobody is left to be answered, or the body was broken off on purpose
        if not isinstance(error, RatError):
            log_failure(error)
            error = problem.Internal()
        if exchange.status is None:
            await exchange.reply(problem.refusal(error))


def _given_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """What the client calls the request: the header's value, unless it comes twice."""
    found = [value for name, value in headers if name == REQUEST_ID.encode()]
    return found[0].decode("latin-1") if len(found) == 1 else None


def _begin_trace(tracing: Tracing, checked: head.Head, endpoint: str) -> None:
    """Notes the client's trace; a publish has a span from here on."""
    request = current()
    parents, states = (checked.headers.get(name.encode(), []) for name in (TRACEPARENT, TRACESTATE))
    parent = parents[0].decode("latin-1") if len(parents) == 1 else None
    context = trace_context(parent, b",".join(states).decode("latin-1"))
    assert request is not None
    if endpoint == PUBLISH:
        named = {"http.request.method": "POST", "http.route": "/v1/streams/{name}"}
        tracing.publishing(request, "POST /v1/streams/{name}", named, context)
    else:
        request.trace = context


async def _refuse_websocket(send: Send) -> None:
    reply = problem.refusal(problem.UpgradeRefused("this service does not speak WebSocket"))
    headers = [(name.lower().encode(), value.encode()) for name, value in reply.fields.items()]
    start: Message = {"type": "websocket.http.response.start", "status": reply.status, "headers": headers}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": reply.body, "more_body": False})


def _first(error: Exception) -> Exception:
    """The error itself: Quart runs a request in a TaskGroup from 0.23 on."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def log_failure(error: Exception) -> None:
    """One line: what went wrong and where, without a stack."""
    at, frame = error.__traceback__, "?"
    while at is not None:
        frame = f"{at.tb_frame.f_code.co_name}:{at.tb_lineno}"
        at = at.tb_next
    log.error("request failed", error=type(error).__name__, reason=ascii(str(error))[:256], where=frame)


def _log_access(exchange: Exchange, seconds: float) -> None:
    scope = exchange.scope
    path = scope["raw_path"][:_SHOWN_PATH_BYTES].decode("ascii", "backslashreplace")
    (log.debug if path in _WATCHED else log.info)(
        "request",
        method=ascii(scope["method"])[1:-1][:16],
        path=path if path.isprintable() else ascii(path),
        status=exchange.status or 499,
        complete=exchange.complete,
        ms=round(seconds * 1000, 1),
    )
