"""Pages of other origins: what a browser must be told so that they may read streams and publish (the CORS protocol
of the Fetch standard).

Nothing is refused here: a browser keeps an answer without these headers from the page. Credentials (cookies, client
certificates) are never allowed, so an answer to any origin shows nothing that the page's host could not fetch itself.
"""

from __future__ import annotations

from ratsvc.settings import Settings

Headers = dict[bytes, list[bytes]]

MAX_AGE_S = 3600
#: Those that are not allowed without being named. Authorization is for the proxy in front that asks for it.
REQUEST_HEADERS = (
    "Authorization, Content-Digest, Content-Type, Idempotency-Key, If-Range, Last-Event-ID, Range, Repr-Digest,"
    " Traceparent, Tracestate, X-Request-Id"
)
RESPONSE_HEADERS = (
    b"Accept-Ranges, Content-Disposition, Content-Range, ETag, Rat-Cursor, Rat-Gap, Repr-Digest, Retry-After,"
    b" X-Request-Id"
)


def allowed_origin(headers: Headers, settings: Settings) -> bytes | None:
    """What to name as allowed to the page that asks; None when there is none, or its origin is not."""
    origins = headers.get(b"origin", [])
    if len(origins) != 1 or not settings.cors_origins:
        return None
    if "*" in settings.cors_origins:
        return b"*"
    return origins[0] if origins[0].decode("latin-1") in settings.cors_origins else None


def response_headers(headers: Headers, settings: Settings) -> list[tuple[bytes, bytes]]:
    """What every response to a request with these headers says."""
    origin = allowed_origin(headers, settings)
    if origin is None:
        return []
    return [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", RESPONSE_HEADERS)]


def preflight(headers: Headers, settings: Settings, methods: str) -> dict[str, str]:
    """What the answer to an OPTIONS says beside: it may be the question whether a request will be taken."""
    if b"access-control-request-method" not in headers or allowed_origin(headers, settings) is None:
        return {}
    return {
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": REQUEST_HEADERS,
        "Access-Control-Max-Age": str(MAX_AGE_S),
    }
