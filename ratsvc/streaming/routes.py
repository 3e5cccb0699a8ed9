"""A decorator for views that give Server-Sent Events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, cast

from quart import Quart

from ratsvc.streaming.encoding import ResponseType
from ratsvc.streaming.errors import StreamTypeError
from ratsvc.streaming.response import StreamingResponse

View = Callable[..., StreamingResponse] | Callable[..., Awaitable[StreamingResponse]]


def sse(app: Quart, path: str) -> Callable[[View], View]:
    """Adds a view, plain or async, at a path, for GET.

        @sse(app, "/events")
        def events():
            response = segqueue.create_segqueue_sse_channel()
            ...
            return response

    Raises:
        StreamTypeError: (in the view) what it returned is not an SSE response.
    """

    def add(view: View) -> View:
        call = cast(Callable[..., Awaitable[object]], app.ensure_async(cast(Any, view)))

        @wraps(view)
        async def checked(*args: Any, **kwargs: Any) -> StreamingResponse:
            response = await call(*args, **kwargs)
            if not isinstance(response, StreamingResponse) or response.get_channel().kind is not ResponseType.SSE:
                raise StreamTypeError(f"the view at {path} must return an SSE response, not {type(response).__name__}")
            return response

        app.add_url_rule(path, view_func=checked, methods=["GET"])
        return view

    return add
