"""Which format a request gets."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratsvc.errors import InvalidArgument, NotAcceptable
from ratsvc.formats import negotiate, negotiate_coding, wants_html
from ratsvc.formats.negotiation import MAX_ACCEPT_BYTES, NAMES, OFFERED

CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        (None, "ndjson"),
        ("", "ndjson"),
        (" ", "ndjson"),
        (" , ,", "ndjson"),
        ("*/*", "ndjson"),
        ("*/*;q=0.1", "ndjson"),
        (CHROME, "ndjson"),
        ("text/event-stream", "sse"),
        ("TEXT/Event-Stream; charset=UTF-8", "sse"),
        ("text/event-stream;charset=utf-8;q=0.5, text/plain;q=0.4", "sse"),
        ("application/jsonl", "ndjson"),
        ("application/json-seq", "json-seq"),
        ("text/plain", "text"),
        ("application/octet-stream", "chunked"),
        ("application/vnd.rat.v1.frames+protobuf", "binary"),
        ("application/json", "page"),
        ("text/*", "sse"),
        ("application/*", "ndjson"),
        ("image/png, text/plain;q=0.001", "text"),
        # the highest quality
        ("text/plain;q=0.5, text/event-stream;q=0.7, application/json;q=0.6", "sse"),
        ("text/plain; q=0.9, */*", "ndjson"),
        ("text/plain;Q=1.000, text/event-stream;q=0.999", "text"),
        # the most specific range gives a type's quality
        ("text/*, text/event-stream;q=0.1", "text"),
        ("*/*, application/*;q=0.1, text/*;q=0.2, text/plain;q=0.3", "text"),
        ("*/*;q=0.5, application/x-ndjson;q=0", "ndjson"),
        ("application/*, application/x-ndjson;q=0, application/jsonl;q=0", "json-seq"),
        ("text/plain;q=0, text/plain", "text"),
        # equals: named before covered, then as the client lists them
        ("*/*, text/plain", "text"),
        ("text/*, application/json-seq", "json-seq"),
        ("application/json, text/plain, */*", "page"),
        ("text/plain, application/json", "text"),
        ("application/json, text/event-stream", "page"),
        # what clients send and the RFC does not know
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", "ndjson"),
        ('text/plain;a="x,y;q=0", image/png', "text"),
        ('text/plain;a="\\",text/event-stream;q=0.5', "text"),
        ('text/plain;a="never closed, text/event-stream', "text"),
    ],
)
def test_accept_decides(accept: str | None, name: str) -> None:
    assert negotiate(accept, None) == name


@pytest.mark.parametrize(
    "accept", ["image/png", "text/html", "*/*;q=0", "text/event-stream;q=0", "text/*;q=0.000", "multipart/*"]
)
def test_what_nothing_satisfies_is_refused_with_what_is_on_offer(accept: str) -> None:
    with pytest.raises(NotAcceptable) as refused:
        negotiate(accept, None)
    assert refused.value.http_status == 406
    assert all(media_type in refused.value.detail for media_type in OFFERED)


@pytest.mark.parametrize(
    "accept",
    [
        "text",
        "text/",
        "/plain",
        "text/plain/x",
        "text plain",
        "text/pl ain",
        "text/plain;q=",
        "text/plain;q=2",
        "text/plain;q=1.5",
        "text/plain;q=-1",
        "text/plain;q=nan",
        "text/plain;q=.",
        "text/plain;q=0.5e1",
        ";q=1",
        "text/é",
        "text/plain\0",
    ],
)
def test_a_malformed_accept_is_refused(accept: str) -> None:
    with pytest.raises(InvalidArgument, match="Accept") as refused:
        negotiate(accept, None)
    assert (refused.value.http_status, refused.value.field) == (400, "accept")


def test_a_long_accept_is_refused() -> None:
    assert negotiate("text/plain" + "," * (MAX_ACCEPT_BYTES - 10), None) == "text"
    with pytest.raises(InvalidArgument, match=str(MAX_ACCEPT_BYTES)):
        negotiate("text/plain" + "," * MAX_ACCEPT_BYTES, None)


@pytest.mark.parametrize("accept", [None, "image/png", "not an accept", "text/event-stream"])
@pytest.mark.parametrize("name", NAMES)
def test_format_wins_over_accept(accept: str | None, name: str) -> None:
    assert negotiate(accept, name) == name


@pytest.mark.parametrize("name", ["", "SSE", "frames", "xml", "text/plain"])
def test_an_unknown_format_is_refused_with_what_it_takes(name: str) -> None:
    with pytest.raises(InvalidArgument, match="sse, json-seq, text, chunked, binary, page") as refused:
        negotiate("*/*", name)
    assert refused.value.field == "format"


@given(st.text(st.sampled_from('text/planevsrm*,;q=01.59" \\\t') | st.characters(max_codepoint=255), max_size=80))
def test_any_accept_has_an_answer(accept: str) -> None:
    with suppress(InvalidArgument):
        assert negotiate(accept, None) in NAMES
    wants_html(accept)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (CHROME, True),
        ("text/html", True),
        ("TEXT/HTML;charset=utf-8", True),
        ("text/html, text/event-stream", True),
        ("text/html;q=0.5, text/event-stream;q=0.4, */*;q=0.1", True),
        (None, False),
        ("", False),
        ("*/*", False),
        ("text/*", False),
        ("text/event-stream", False),
        ("text/html;q=0.9, text/event-stream", False),
        ("text/html;q=0, */*", False),
        ("text/html;q=x", False),
    ],
)
def test_a_browser_that_navigates_is_known_by_text_html(accept: str | None, wanted: bool) -> None:
    assert wants_html(accept) is wanted


@pytest.mark.parametrize(
    ("accept_encoding", "coding"),
    [
        (None, "identity"),
        ("", "identity"),
        ("identity", "identity"),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br, zstd", "gzip"),
        ("br, zstd, deflate", "identity"),
        ("gzip;q=0", "identity"),
        ("gzip;q=0.001", "gzip"),
        ("gzip;q=0.5, identity", "identity"),
        ("gzip;q=0.5, identity;q=0.5", "gzip"),
        ("gzip;q=0.5, identity;q=0", "gzip"),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", "gzip"),
        ("*", "gzip"),
        ("*;q=0.1", "gzip"),
        ("br, *;q=0, gzip", "gzip"),
        ("gzip;q=0, *", "identity"),
        ("gzip;q=0, x-gzip", "gzip"),
        ("identity, *", "gzip"),
        ("identity;q=0.5, *;q=0", "identity"),
        (" , gzip ;q=0.3 , ,", "gzip"),
    ],
)
def test_what_is_asked_for_decides_about_compression(accept_encoding: str | None, coding: str) -> None:
    assert negotiate_coding(accept_encoding, ["gzip"]) == coding


@pytest.mark.parametrize(
    ("accept_encoding", "coding"),
    [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, zstd;q=0.9", "gzip"),
        ("zstd;q=0, gzip", "gzip"),
        ("*", "gzip"),
        ("zstd;q=0.5, *", "gzip"),
        ("br", "identity"),
        ("zstd;q=0.5, identity", "identity"),
    ],
)
def test_of_several_codings_the_best_that_is_liked_most_is_taken(accept_encoding: str, coding: str) -> None:
    assert negotiate_coding(accept_encoding, ["zstd", "gzip"]) == coding


def test_without_compression_everyone_gets_plain_bytes_but_who_refuses_them() -> None:
    assert negotiate_coding("gzip", []) == "identity"
    with pytest.raises(NotAcceptable):
        negotiate_coding("gzip, identity;q=0", [])


@pytest.mark.parametrize("accept_encoding", ["identity;q=0", "*;q=0", "gzip;q=0, *;q=0", "br, identity;q=0"])
def test_nobody_who_refuses_plain_bytes_gets_them(accept_encoding: str) -> None:
    with pytest.raises(NotAcceptable) as refused:
        negotiate_coding(accept_encoding, ["gzip"])
    assert refused.value.field == "accept-encoding"


@pytest.mark.parametrize("accept_encoding", ["gzip;q=2", "gz ip", "gzip/x", "gzip;q=", "g" * 5_000])
def test_a_malformed_list_of_codings_is_refused(accept_encoding: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        negotiate_coding(accept_encoding, ["gzip"])
    assert refused.value.field == "accept-encoding"
