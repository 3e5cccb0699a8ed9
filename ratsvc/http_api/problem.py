"""Refusals over HTTP: `application/problem+json` (RFC 9457), one `type` per error class.

A problem has `type` (relative: `/problems/<slug>`, which gives a sentence about it), `title`, `status`, `detail`,
`field`, the input that was wrong, and the `request_id` that log lines have too. It never has a class name, a path or
a stack.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from ratsvc import errors
from ratsvc.errors import InvalidArgument, RatError
from ratsvc.observability.request import current

MEDIA_TYPE = "application/problem+json"


class NotFound(InvalidArgument):
    """There is nothing at this path."""

    slug, title, http_status = "not-found", "Not found", 404


class MethodNotAllowed(InvalidArgument):
    """The path does not take this method; `Allow` says which it takes."""

    slug, title, http_status = "method-not-allowed", "Method not allowed", 405

    def __init__(self, detail: str, allowed: list[str]) -> None:
        super().__init__(detail, field="method")
        self.allowed = allowed


class MalformedRequest(InvalidArgument):
    """The request breaks the rules of HTTP, or uses a part of them that is not taken here."""

    slug, title = "malformed-request", "Malformed request"


class RangeNotSatisfiable(InvalidArgument):
    """The file has none of the bytes that the range names; `Content-Range` says how many it has."""

    slug, title, http_status = "range-not-satisfiable", "Range not satisfiable", 416

    def __init__(self, size: int) -> None:
        super().__init__(f"the file has {size} bytes", field="range")
        self.size = size


class UriTooLong(RatError):
    """The request's target is over the limit."""

    slug, title, grpc_code, http_status = "uri-too-long", "URI too long", 8, 414


class HeadersTooLarge(RatError):
    """The request's headers are over the limit, in size or in number."""

    slug, title, grpc_code, http_status = "headers-too-large", "Headers too large", 8, 431


class VersionNotSupported(InvalidArgument):
    """Only HTTP/1.0 and HTTP/1.1 are served here."""

    slug, title, http_status = "http-version-not-supported", "HTTP version not supported", 505


class UpgradeRefused(InvalidArgument):
    """This service upgrades to no other protocol."""

    slug, title, http_status = "upgrade-refused", "Upgrade refused", 426


class Misdirected(InvalidArgument):
    """This service does not answer to the host that the request names."""

    slug, title, http_status = "misdirected-request", "Misdirected request", 421


class CrossSite(InvalidArgument):
    """A page of another site may not change anything here: browsers say so with the request (Fetch Metadata)."""

    slug, title, grpc_code, http_status = "cross-site", "Cross-site request", 7, 403


class NotShown(RatError):
    """The service does not tell who is connected: see the setting show_connections."""

    slug, title, grpc_code, http_status = "not-shown", "Not shown", 7, 403


class Unauthenticated(RatError):
    """Credentials are needed, and there were none, or wrong ones."""

    slug, title, grpc_code, http_status = "unauthenticated", "Unauthenticated", 16, 401


class Internal(RatError):
    """Something failed inside the service; its log says what."""

    def __init__(self) -> None:
        super().__init__("the request could not be served")


@dataclass(slots=True)
class Reply:
    """A complete response."""

    status: int
    body: bytes = b""
    media_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, str]:
        """All its header fields."""
        length = {} if self.status == 204 else {"Content-Length": str(len(self.body)), "Content-Type": self.media_type}
        return length | self.headers


def json_reply(value: object, status: int = 200) -> Reply:
    """A reply with `value` as JSON."""
    return Reply(status, msgspec.json.encode(value) + b"\n")


def refusal(error: RatError, **more: object) -> Reply:
    """The reply that says `error`; `more` are further members of the problem."""
    problem: dict[str, object] = {
        "type": f"/problems/{error.slug}",
        "title": error.title,
        "status": error.http_status,
        "detail": error.detail,
    }
    if error.field is not None:
        problem["field"] = error.field
    if (request := current()) is not None:
        problem["request_id"] = request.id
    headers = {}
    if error.retry_after_s is not None or error.http_status in (429, 503):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s or 1)))
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allowed)
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="ratsvc"'
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    if isinstance(error, UpgradeRefused):
        headers["Upgrade"] = "HTTP/1.1"
    return Reply(error.http_status, msgspec.json.encode(problem | more) + b"\n", MEDIA_TYPE, headers)


def malformed(status: int, detail: str) -> Reply:
    """The reply to a request that the server or Quart found malformed, with the status that they gave it."""
    reply = refusal(MalformedRequest(detail), status=status)
    reply.status = status
    return reply


def explanation(slug: str) -> str:
    """What a problem type means. Raises NotFound."""
    for kind in _kinds(RatError):
        if kind.slug == slug:
            first = (kind.__doc__ if kind is not RatError else Internal.__doc__) or ""
            return f"{kind.title} ({kind.http_status}): {first.strip().splitlines()[0]}\n"
    raise NotFound("there is no such problem type")


def _kinds(root: type[RatError]) -> Iterator[type[RatError]]:
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ in (errors.__name__, __name__):
            yield from _kinds(kind)
