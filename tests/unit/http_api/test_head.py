"""What a request's head must be, without a server."""

from __future__ import annotations

from typing import Any

import pytest

from ratsvc.errors import RatError, SettingsError
from ratsvc.http_api.head import check
from ratsvc.settings import Settings, load

HOST = (b"host", b"localhost:8080")


def scope(target: bytes = b"/healthz", *headers: tuple[bytes, bytes], **changes: Any) -> dict[str, Any]:
    path, _, query = target.partition(b"?")
    return {
        "method": "GET",
        "http_version": "1.1",
        "raw_path": path,
        "query_string": query,
        "headers": list(headers) or [HOST],
        **changes,
    }


def refused(given: dict[str, Any], settings: Settings | None = None) -> RatError:
    with pytest.raises(RatError) as caught:
        check(given, settings or load())
    return caught.value


def test_a_plain_head_passes() -> None:
    head = check(scope(b"/v1/streams/a%2Eb?x=1"), load())
    assert (head.method, head.path, head.has_body) == ("GET", "/v1/streams/a.b", False)


@pytest.mark.parametrize("version", ["0.9", "1.2", "2", "3.0"])
def test_other_versions_are_refused(version: str) -> None:
    assert refused(scope(http_version=version)).http_status == 505


@pytest.mark.parametrize(
    "headers",
    [
        (HOST, (b"content-length", b"5"), (b"transfer-encoding", b"chunked")),
        (HOST, (b"transfer-encoding", b"gzip, chunked")),
        (HOST, (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")),
        (HOST, (b"content-length", b"+5")),
        (HOST, (b"content-length", b"0x5")),
        (HOST, (b"content-length", b"5,5")),
        (HOST, (b"content-length", b"5"), (b"content-length", b"5")),
        (HOST, (b"content-length", b"1" * 22)),
        (HOST, (b"x_user_id", b"1")),
        (HOST, (b"x", b"a\0b")),
        (HOST, HOST),
        ((b"host", b"user@localhost"),),
        ((b"host", b"localhost:80:80"),),
        ((b"host", b"local host"),),
        ((b"host", b""),),
        ((b"accept", b"*/*"),),
    ],
)
def test_ambiguous_and_malformed_headers_are_refused(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    assert refused(scope(b"/healthz", *headers)).http_status == 400


def test_what_is_too_large_is_refused() -> None:
    limits = load().limits
    assert refused(scope(b"/" + b"a" * limits.uri_bytes)).http_status == 414
    assert refused(scope(b"/?" + b"a" * limits.uri_bytes)).http_status == 414
    many = [(b"x-%d" % at, b"1") for at in range(limits.header_count)]
    assert refused(scope(b"/", HOST, *many)).http_status == 431
    assert refused(scope(b"/", HOST, (b"x", b"a" * limits.header_bytes))).http_status == 431


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/%00", 400),
        (b"/a%0d%0ab", 400),
        (b"/%zz", 400),
        (b"/%ff", 400),
        (b"/%c0%af", 400),
        (b"/a%5cb", 400),
        (b"relative", 400),
        (b"http://evil/healthz", 400),
        (b"http://localhost:8080@evil/healthz", 400),
        (b"/../etc/passwd", 404),
        (b"/%2e%2e/etc/passwd", 404),
        (b"/ui/..", 404),
        (b"//healthz", 404),
        (b"/ui/%2fetc", 404),
    ],
)
def test_bad_targets_are_refused(target: bytes, status: int) -> None:
    assert refused(scope(target)).http_status == status


@pytest.mark.parametrize("header", [(b"sec-fetch-site", b"cross-site"), (b"origin", b"null")])
def test_a_page_of_another_site_may_read_but_not_write(header: tuple[bytes, bytes]) -> None:
    assert refused(scope(b"/v1/streams/a", HOST, header, method="POST")).http_status == 403
    assert check(scope(b"/v1/streams/a", HOST, header), load()).path == "/v1/streams/a"
    same = (b"sec-fetch-site", b"same-origin")
    assert check(scope(b"/v1/streams/a", HOST, same, method="POST"), load()).method == "POST"


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (b"rat.example.com:8080", b"http://rat.example.com"),
        (b"rat.example.com", b"http://rat.example.com:8080"),
        (b"rat.example.com", b"http://evil.example.com"),
        (b"rat.example.com", b"rat.example.com"),
    ],
)
def test_without_fetch_metadata_the_origin_is_compared_with_the_host(host: bytes, origin: bytes) -> None:
    headers = [(b"host", host), (b"origin", origin)]
    assert refused(scope(b"/v1/streams/a", *headers, method="POST")).http_status == 403
    assert check(scope(b"/v1/streams/a", *headers), load()).method == "GET"
    own = (b"origin", b"http://" + host.upper())
    assert check(scope(b"/v1/streams/a", (b"host", host), own, method="POST"), load()).method == "POST"
    if b"://" in origin:
        allowed = load(flags={"cors_origins": [origin.decode()]})
        assert check(scope(b"/v1/streams/a", *headers, method="POST"), allowed).method == "POST"


def test_the_absolute_form_is_taken_for_the_host_itself() -> None:
    assert check(scope(b"HTTP://LOCALHOST:8080/healthz"), load()).path == "/healthz"
    assert check(scope(b"http://localhost:8080"), load()).path == "/"


HOSTS = {"allowed_hosts": ["Rat.example.com", "10.0.0.1:8080", "[::1]"]}


@pytest.mark.parametrize("host", ["rat.example.com", "RAT.example.com:80", "10.0.0.1:8080", "[::1]", "[::1]:8080"])
def test_a_host_that_is_allowed_is_answered(host: str) -> None:
    assert check(scope(b"/v1/streams", (b"host", host.encode())), load(flags=HOSTS)).path == "/v1/streams"


@pytest.mark.parametrize("host", ["example.com", "rat.example.com.evil.com", "10.0.0.1", "10.0.0.1:80", "[::2]"])
def test_any_other_host_is_misdirected_but_to_a_probe(host: str) -> None:
    error = refused(scope(b"/v1/streams", (b"host", host.encode())), load(flags=HOSTS))
    assert (error.http_status, error.field) == (421, "host")
    assert check(scope(b"/readyz", (b"host", host.encode())), load(flags=HOSTS)).path == "/readyz"


def test_a_request_without_a_host_is_misdirected_where_hosts_are_named() -> None:
    given = scope(b"/v1/streams", (b"x", b"y"), http_version="1.0")
    assert check(given, load()).path == "/v1/streams"
    assert refused(given, load(flags=HOSTS)).http_status == 421


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("allowed_hosts", "http://a"),
        ("allowed_hosts", "a/b"),
        ("allowed_hosts", ""),
        ("cors_origins", "a.example.com"),
        ("cors_origins", "https://a.example.com/"),
        ("cors_origins", "https://*.example.com"),
        ("cors_origins", "null"),
    ],
)
def test_a_setting_that_is_no_host_or_origin_is_an_error(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load(flags={name: [value]})
