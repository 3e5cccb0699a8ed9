"""`/debug/`: what a running service does, for whoever runs it. There only where `debug_token` is set, and only for
those who send it as a bearer token.

- `GET /debug/tasks`: the event loop's tasks, and where they wait
- `GET /debug/memory`: what each part holds
- `GET /debug/profile?seconds=5&format=svg|text`: a CPU profile, as a flame graph or as collapsed stacks; one at a time
- `GET /debug/log`, `PUT /debug/log?level=debug&for_s=600`: the level of the log lines, changed for good or for a while
"""

from __future__ import annotations

import asyncio
import hmac
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from pydantic import SecretStr
from quart import Quart, Response, request
from quart_schema import hide

from ratsvc.errors import Busy, InvalidArgument
from ratsvc.flow.broker import Broker
from ratsvc.http_api import measuring
from ratsvc.http_api.exchange import HEAD
from ratsvc.http_api.problem import Unauthenticated
from ratsvc.http_api.query import Query
from ratsvc.http_api.response import json_response
from ratsvc.observability import flamegraph, logs, profile

MAX_SECONDS, MAX_RATE, MAX_TASKS = 60.0, 500, 1_000
_POLICY = "default-src 'none'; frame-ancestors 'none'"
_log = structlog.get_logger()

View = Callable[[], Awaitable[Response]]


class Debug:
    """The routes."""

    def __init__(self, broker: Broker, token: SecretStr) -> None:
        self._broker = broker
        self._token = token.get_secret_value().encode()
        self._return: asyncio.TimerHandle | None = None
        self._returns_to = ""

    def add_to(self, app: Quart) -> None:
        """Adds the routes."""
        for path, view, method in (
            ("", self.index, "GET"),
            ("tasks", self.tasks, "GET"),
            ("memory", self.memory, "GET"),
            ("profile", self.profile, "GET"),
            ("log", self.log, "GET"),
            ("log", self.set_log, "PUT"),
        ):
            app.add_url_rule(f"/debug/{path}", f"debug_{view.__name__}", hide(self._guarded(view)), methods=[method])

    def _guarded(self, view: View) -> View:
        """A view for those who have the token."""

        async def checked() -> Response:
            extensions: dict[str, Any] = request.scope["extensions"]
            scheme, _, token = (extensions[HEAD].one(b"authorization") or "").partition(" ")
            given = token.strip().encode("latin-1", "replace")
            if not hmac.compare_digest(given, self._token) or scheme.lower() != "bearer":
                raise Unauthenticated("this needs `Authorization: Bearer …` with the debug_token of the settings")
            return await view()

        return checked

    async def index(self) -> Response:
        """What there is."""
        Query(request.query_string, ())
        return json_response({"paths": [f"/debug/{name}" for name in ("tasks", "memory", "profile", "log")]})

    async def tasks(self) -> Response:
        """The event loop's tasks."""
        most = Query(request.query_string, ("limit",)).integer("limit", 0, MAX_TASKS)
        return json_response(await measuring.tasks(200 if most is None else most))

    async def memory(self) -> Response:
        """What each part holds."""
        Query(request.query_string, ())
        return json_response(await measuring.memory(self._broker))

    async def profile(self) -> Response:
        """A CPU profile of the next seconds."""
        query = Query(request.query_string, ("seconds", "rate", "format"))
        seconds = query.number("seconds", 0.1, MAX_SECONDS) or 5.0
        rate = query.integer("rate", 1, MAX_RATE) or 100
        form = query.choice("format", ("svg", "text"), "svg")
        if not profile.ONE.acquire(blocking=False):
            raise Busy("a profile is being taken: one at a time", retry_after_s=seconds)
        stop, loop = threading.Event(), asyncio.get_running_loop()
        done: asyncio.Future[profile.Profile] = loop.create_future()
        thread = threading.Thread(target=_take, args=(seconds, rate, stop, done), name="profile", daemon=True)
        thread.start()
        try:
            found = await done
        finally:
            stop.set()
            thread.join()  # it looks at `stop` all the time
            profile.ONE.release()
        title = f"{found.total:.2f} s of processor time in {seconds:g} s, {found.looks} looks"
        if form == "text":
            return Response(found.collapsed(), 200, {"Content-Type": "text/plain; charset=utf-8"})
        svg = await asyncio.to_thread(flamegraph.render, found, title)
        return Response(svg, 200, {"Content-Type": "image/svg+xml", "Content-Security-Policy": _POLICY})

    async def log(self) -> Response:
        """The level of the log lines."""
        Query(request.query_string, ())
        return self._level()

    async def set_log(self) -> Response:
        """Changes the level, with `for_s` for so many seconds."""
        query = Query(request.query_string, ("level", "for_s"))
        if query.one("level") is None:
            raise InvalidArgument(f"level must be one of {', '.join(logs.LEVELS)}", field="level")
        level, for_s = query.choice("level", logs.LEVELS, "info"), query.number("for_s", 1, 86_400)
        before = self._returns_to if self._return is not None else logs.level()
        if self._return is not None:
            self._return.cancel()
            self._return = None
        self._set(level)
        if for_s is not None:
            self._returns_to = before
            self._return = asyncio.get_running_loop().call_later(for_s, self._go_back)
        return self._level()

    def _go_back(self) -> None:
        self._return = None
        self._set(self._returns_to)

    def _set(self, level: str) -> None:
        before = logs.level()
        logs.set_level(level)
        _log.warning("log_level", before=before, now=level)

    def _level(self) -> Response:
        back = None
        if self._return is not None:
            left = max(0.0, self._return.when() - asyncio.get_running_loop().time())
            back = {"level": self._returns_to, "in_s": round(left, 1)}
        return json_response({"level": logs.level(), "returns": back})


def _take(seconds: float, rate: int, stop: threading.Event, done: asyncio.Future[profile.Profile]) -> None:
    """Takes a profile in this thread, and gives it, or what broke it, to the event loop."""

    def tell(found: profile.Profile | Exception) -> None:
        if done.cancelled():
            return
        if isinstance(found, Exception):
            done.set_exception(found)
        else:
            done.set_result(found)

    found: profile.Profile | Exception
    try:
        found = profile.take(seconds, rate, stop)
    except Exception as error:  # told to the one who asked
        found = error
    done.get_loop().call_soon_threadsafe(tell, found)
