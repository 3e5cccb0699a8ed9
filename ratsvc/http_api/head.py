"""What a request's head must be, before anything acts on it: no I/O, only the ASGI scope.

h11 and hypercorn let through more than RFC 9112 does: two ways to say where the body ends (request smuggling),
versions that do not exist, targets with another authority than `Host`, thousands of headers. Each is refused
here, and the connection closed, for nobody can say what its next bytes would be. Cost: one pass over the headers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from ratsvc.errors import RatError
from ratsvc.http_api.cors import allowed_origin
from ratsvc.http_api.problem import (
    CrossSite,
    HeadersTooLarge,
    MalformedRequest,
    Misdirected,
    NotFound,
    UpgradeRefused,
    UriTooLong,
    VersionNotSupported,
)
from ratsvc.settings import Limits, Settings

#: Paths that those who watch the service ask for, by whatever address they have.
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~-]{1,255})(?::[0-9]{1,5})?\Z")
_FIELD_NAME = re.compile(rb"[A-Za-z0-9!#$%&'*+.^`|~-]+\Z")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)\Z", re.I | re.S)
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(slots=True)
class Head:
    """A request's head that passed."""

    method: str
    path: str
    """Decoded, and safe: no control character, no empty, `.` or `..` segment."""
    headers: dict[bytes, list[bytes]]
    content_length: int | None
    chunked: bool

    @property
    def has_body(self) -> bool:
        """Whether a body follows."""
        return self.chunked or bool(self.content_length)

    def one(self, name: bytes) -> str | None:
        """The header's value, or None. Raises MalformedRequest when it comes twice."""
        values = self.headers.get(name, [])
        if len(values) > 1:
            raise _malformed(f"there must be one {name.decode()} header", name)
        return values[0].decode("latin-1") if values else None


def check(scope: dict[str, Any], settings: Settings) -> Head:
    """Checks the head of an HTTP request.

    Raises:
        RatError: what is wrong with it.
    """
    limits = settings.limits
    if scope["http_version"] not in ("1.0", "1.1"):
        raise VersionNotSupported("only HTTP/1.1 and HTTP/1.0 are served here")
    query = scope["query_string"]
    if len(scope["raw_path"]) + len(query) + bool(query) > limits.uri_bytes:
        raise UriTooLong(f"the target must be at most {limits.uri_bytes} bytes")
    headers = _headers(scope["headers"], limits)
    host = _host(headers, scope["http_version"])
    if any(b"websocket" in value.lower() for value in headers.get(b"upgrade", [])):
        raise UpgradeRefused("this service does not speak WebSocket")
    length, chunked = _framing(headers)
    method = scope["method"]
    cross_site = _is_cross_site(headers, host) and not allowed_origin(headers, settings)
    if method not in _SAFE and (cross_site or headers.get(b"origin") == [b"null"]):
        raise CrossSite("a page of another site may not change anything here: see the setting cors_origins")
    path = "" if method == "CONNECT" else _path(scope["raw_path"], host)
    if settings.allowed_hosts and path not in PROBES and not _is_ours(host.decode(), settings.allowed_hosts):
        raise Misdirected("this service does not answer to the host that the request names", field="host")
    return Head(method, path, headers, length, chunked)


def _headers(raw: Iterable[tuple[bytes, bytes]], limits: Limits) -> dict[bytes, list[bytes]]:
    headers: dict[bytes, list[bytes]] = {}
    size = 0
    for count, (name, value) in enumerate(raw, 1):
        size += len(name) + len(value) + 4
        if count > limits.header_count:
            raise HeadersTooLarge(f"there must be at most {limits.header_count} headers")
        if size > limits.header_bytes:
            raise HeadersTooLarge(f"the headers must be at most {limits.header_bytes} bytes")
        if not _FIELD_NAME.match(name):
            raise MalformedRequest("header names must be RFC 9110 tokens without '_'")
        if b"\0" in value or b"\r" in value or b"\n" in value:
            raise MalformedRequest("header values must not contain NUL or line breaks")
        headers.setdefault(name.lower(), []).append(value)
    return headers


def _host(headers: dict[bytes, list[bytes]], version: str) -> bytes:
    hosts = headers.get(b"host", [])
    if not hosts and version == "1.0":
        return b""
    if len(hosts) != 1 or not _HOST.match(hosts[0]):
        raise _malformed("there must be one Host header, <host> or <host>:<port>", b"host")
    return hosts[0].lower()


def _is_cross_site(headers: dict[bytes, list[bytes]], host: bytes) -> bool:
    """Whether a page of another site sends it. Browsers say so (Fetch Metadata), but not where they do not trust the
    connection, as over plain HTTP to another machine: there the page's origin is compared with the host."""
    origins, sites = headers.get(b"origin", []), headers.get(b"sec-fetch-site")
    if sites is not None:
        return sites == [b"cross-site"]
    return any(origin.lower().partition(b"://")[2] != host for origin in origins)


def _is_ours(host: str, allowed: list[str]) -> bool:
    """Whether a host, with its port if it has one, is among those allowed."""
    bare = host if host.endswith("]") else host.rpartition(":")[0] or host
    return any(name.lower() in (host, bare) for name in allowed)


def _framing(headers: dict[bytes, list[bytes]]) -> tuple[int | None, bool]:
    lengths, codings = headers.get(b"content-length", []), headers.get(b"transfer-encoding", [])
    if lengths and codings:
        raise MalformedRequest("Content-Length and Transfer-Encoding must not come together")
    if codings and [coding.lower() for coding in codings] != [b"chunked"]:
        raise _malformed("the only Transfer-Encoding taken is chunked", b"transfer-encoding")
    if len(lengths) > 1 or (lengths and not (lengths[0].isdigit() and len(lengths[0]) <= 18)):
        raise _malformed("there must be one Content-Length, in decimal digits", b"content-length")
    return (int(lengths[0]) if lengths else None), bool(codings)


def _path(target: bytes, host: bytes) -> str:
    if found := _ABSOLUTE.match(target):
        if found[1].lower() != host:
            raise MalformedRequest("the target names another host than the Host header", field="host")
        target = found[2] or b"/"
    if target == b"*":
        return "*"
    if not target.startswith(b"/") or _BAD_ESCAPE.search(target):
        raise MalformedRequest("the target must be a path with valid percent-escapes")
    try:
        path = unquote_to_bytes(target).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedRequest("the path must be UTF-8") from None
    if _CONTROL.search(path):
        raise MalformedRequest("the path must not contain control characters or '\\'")
    *inner, last = path.split("/")[1:]
    if b"%2f" in target.lower() or any(segment in ("", ".", "..") for segment in inner) or last in (".", ".."):
        raise NotFound("there is nothing at this path")
    return path


def _malformed(detail: str, header: bytes) -> RatError:
    return MalformedRequest(detail, field=header.decode())
