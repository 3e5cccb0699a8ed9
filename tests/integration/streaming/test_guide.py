"""Code as a reader of the guide writes it, old and new, runs in a Quart app and does what the guide says."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid

import pytest
from httpx_sse import aconnect_sse
from quart.typing import ResponseReturnValue

import ratsvc
from ratsvc.streaming import (
    StreamingResponse,
    StreamTypeError,
    get_streaming_stats,
    list_streaming_connections,
    register_streaming_connection,
    sse,
)

from .conftest import Site

streaming = ratsvc.streaming
segqueue = streaming.segqueue_unified


async def events(site: Site, path: str) -> list[tuple[str, str]]:
    async with aconnect_sse(site.http, "GET", path) as source:
        return [(event.event, event.data) async for event in source.aiter_sse()]


END = ("end", '{"reason":"ended"}')


async def test_an_sse_view_sends_json_text_and_events(site: Site) -> None:
    seen: list[object] = []

    @site.app.route("/sse")
    def view() -> ResponseReturnValue:
        response = segqueue.create_segqueue_sse_channel()
        sender = response.get_sender()
        registered = register_streaming_connection(
            str(uuid.uuid4()), "127.0.0.1", sender, {"user": "anna"}, on_disconnect=seen.append
        )
        assert registered
        if sender.is_connected():
            assert sender.send_sse_json({"data": "value"})
        sender.send_sse_data("text data")
        sender.send_sse_event("custom", "event data")
        sender.send_sse_event("custom", {"n": 1})
        sender.send_heartbeat()
        seen.append(f"{response.get_channel().get_response_type()}")
        sender.end_stream()
        sender.end_stream()
        assert not sender.is_connected()
        assert not sender.send_sse_data("late")
        return response

    assert await events(site, "/sse") == [
        ("message", '{"data":"value"}'),
        ("message", "text data"),
        ("custom", "event data"),
        ("custom", '{"n":1}'),
        END,
    ]
    assert seen == ["sse", "ended"]
    head = (await site.http.get("/sse")).headers
    assert head["content-type"] == "text/event-stream"
    assert head["cache-control"] == "no-store"
    assert head["x-accel-buffering"] == "no"


async def test_the_old_calls_send_the_same_bytes(site: Site) -> None:
    @site.app.route("/old")
    async def old() -> ResponseReturnValue:
        response = segqueue.create_segqueue_sse_channel()
        sender = response.get_sender()
        sender.send_event("message", "a")
        sender.send_data("a")
        sender.send_event("", "a")
        sender.send_event("type", "b")
        sender.end_stream()
        return response

    body = (await site.http.get("/old")).content
    assert body == b"data: a\n\n" * 3 + b'event: type\ndata: b\n\nevent: end\ndata: {"reason":"ended"}\n\n'


async def test_code_for_the_old_sse_channel_runs_and_warns(site: Site) -> None:
    @sse(site.app, "/sse")
    def endpoint() -> StreamingResponse:
        with pytest.warns(DeprecationWarning, match="create_segqueue_sse_channel"):
            sse_channel = ratsvc.create_sse_channel()
        sender = sse_channel.get_sender()
        with pytest.warns(DeprecationWarning, match="register the sender"):
            assert ratsvc.register_streaming_connection("one", "addr", sse_channel, {"k": 1})
        with pytest.warns(DeprecationWarning, match="register the sender"):
            assert not ratsvc.register_streaming_connection("one", "addr", sse_channel.get_channel(), {})
        (info,) = list_streaming_connections()
        assert (info.connection_id, info.remote_addr, info.metadata) == ("one", "addr", {"k": 1})
        sender.send_event("message", json.dumps({"data": "value"}))
        sender.end_stream()
        return sse_channel

    assert await events(site, "/sse") == [("message", '{"data": "value"}'), END]
    assert list_streaming_connections() == []


async def test_code_for_the_old_chunked_response_runs_and_warns(site: Site) -> None:
    @site.app.route("/<which>")
    def endpoint(which: str) -> ResponseReturnValue:
        make = ratsvc.create_chunked_response if which == "chunked" else ratsvc.create_streaming_response
        with pytest.warns(DeprecationWarning, match="create_segqueue_chunked_response"):
            response = make()
        with pytest.warns(DeprecationWarning, match="send_text_chunk"):
            assert response.send_chunk("data")
        with pytest.warns(DeprecationWarning, match="send_binary_chunk"):
            response.add_chunk(b"\x00\xff")
        with pytest.warns(DeprecationWarning, match="send_large_file"):
            response.add_large_file_chunks(b"x" * 100_000, 1000)
        with pytest.warns(DeprecationWarning, match="end_stream"):
            response.finish()
        return response

    for which in ("chunked", "streaming"):
        assert (await site.http.get(f"/{which}")).content == b"data\x00\xff" + b"x" * 100_000


async def test_the_new_streams_send_what_their_types_say(site: Site) -> None:
    @site.app.route("/<kind>")
    def view(kind: str) -> ResponseReturnValue:
        if kind == "chunked":
            response = segqueue.create_segqueue_chunked_response()
            sender = response.get_sender()
            sender.send_text_chunk("da")
            sender.send_binary_chunk(b"ta\x00")
        elif kind == "json":
            response = segqueue.create_segqueue_json_stream()
            sender = response.get_sender()
            for n in range(3):
                sender.send_json_chunk({"id": n})
        elif kind == "text":
            response = segqueue.create_segqueue_text_stream()
            sender = response.get_sender()
            for line in ("one", "two"):
                sender.send_text_chunk(f"{line}\n")
        else:
            response = segqueue.create_segqueue_binary_stream()
            sender = response.get_sender()
            sender.send_binary_chunk(b"abc")
            sender.send_binary_chunk(b"")
            sender.send_binary_chunk(b"d" * 300)
        assert response.get_channel().get_response_type() == kind
        sender.end_stream()
        return response

    for kind, media_type, body in (
        ("chunked", "application/octet-stream", b"data\x00"),
        ("json", "application/x-ndjson", b'{"id":0}\n{"id":1}\n{"id":2}\n'),
        ("text", "text/plain; charset=utf-8", b"one\ntwo\n"),
        ("binary", "application/octet-stream", b"\x03abc\x00\xac\x02" + b"d" * 300),
    ):
        response = await site.http.get(f"/{kind}")
        assert (response.headers["content-type"], response.content) == (media_type, body)


async def test_lists_become_streams(site: Site) -> None:
    @site.app.route("/json")
    def as_json() -> ResponseReturnValue:
        return segqueue.create_segqueue_json_stream_from_list([{"id": n} for n in range(20_000)])

    @site.app.route("/text")
    def as_text() -> ResponseReturnValue:
        return segqueue.create_segqueue_text_stream_from_list([f"Line {n}" for n in range(100)])

    @site.app.route("/binary")
    def as_binary() -> ResponseReturnValue:
        return segqueue.create_segqueue_binary_stream_from_list(b"%d" % n for n in range(10))

    @site.app.route("/empty")
    def empty() -> ResponseReturnValue:
        return segqueue.create_segqueue_json_stream_from_list([])

    lines = (await site.http.get("/json")).text.splitlines()
    assert [json.loads(line) for line in lines] == [{"id": n} for n in range(20_000)]
    assert (await site.http.get("/text")).text == "".join(f"Line {n}\n" for n in range(100))
    assert (await site.http.get("/binary")).content == b"".join(b"\x01%d" % n for n in range(10))
    assert (await site.http.get("/empty")).content == b""


def test_lists_with_what_does_not_fit_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match="Expected text, got int"):
        segqueue.create_segqueue_text_stream_from_list(["a", 1])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="Expected bytes data, got str"):
        segqueue.create_segqueue_binary_stream_from_list(["a"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="a value cannot hold"):
        segqueue.create_segqueue_json_stream_from_list([object()])
    with pytest.raises(TypeError, match="Expected a list of items, got str"):
        segqueue.create_segqueue_text_stream_from_list("abc")


async def test_a_mapping_of_chunks_is_sent(site: Site) -> None:
    @site.app.route("/")
    async def view() -> ResponseReturnValue:
        return streaming.chunked_from_mapping({"chunks": ["a", b"b", bytearray(b"c")]})

    assert (await site.http.get("/")).content == b"abc"
    with pytest.raises(TypeError, match=r"chunks\[1\] is a int"):
        streaming.chunked_from_mapping({"chunks": ["a", 1]})
    for odd in ({}, {"chunks": "abc"}):
        with pytest.raises(ValueError, match="'chunks'"):
            streaming.chunked_from_mapping(odd)
    before = get_streaming_stats()["skipped_chunks"]
    with pytest.warns(RuntimeWarning, match=r"chunks\[0\] is a NoneType.*2 of 3"):
        response = streaming.chunked_from_mapping({"chunks": [None, "a", 1.5]}, strict=False)
    assert await response.get_data(as_text=True) == "a"
    after = get_streaming_stats()["skipped_chunks"]
    assert isinstance(before, int)
    assert after == before + 2


async def test_the_decorator_takes_async_views_and_arguments_and_nothing_but_sse(site: Site) -> None:
    @sse(site.app, "/events/<name>")
    async def good(name: str) -> StreamingResponse:
        response = segqueue.create_segqueue_sse_channel()
        response.get_sender().send_sse_data(name)
        response.get_sender().end_stream()
        return response

    @sse(site.app, "/bad")
    def bad() -> StreamingResponse:
        return segqueue.create_segqueue_text_stream_from_list([])

    caught: list[Exception] = []

    @site.app.errorhandler(StreamTypeError)
    async def refused(error: Exception) -> ResponseReturnValue:
        caught.append(error)
        return "", 500

    assert await events(site, "/events/anna") == [("message", "anna"), END]
    assert (await site.http.get("/bad")).status_code == 500
    assert "must return an SSE response" in str(caught[0])
    assert (await site.http.post("/bad")).status_code == 405


async def test_headers_and_status_can_be_changed_as_of_any_response(site: Site) -> None:
    @site.app.route("/")
    def view() -> ResponseReturnValue:
        response = segqueue.create_segqueue_chunked_response()
        response.get_sender().send_text_chunk("a,b\n")
        response.get_sender().end_stream()
        response.content_type = "text/csv"
        return response, 203, {"X-Own": "1"}

    response = await site.http.get("/")
    assert (response.status_code, response.headers["content-type"], response.headers["x-own"]) == (203, "text/csv", "1")
    assert response.text == "a,b\n"


def test_importing_the_package_alone_is_quick_and_finds_what_it_names() -> None:
    code = (
        "import ratsvc, sys; assert 'quart' not in sys.modules and 'msgspec' not in sys.modules;"
        "assert ratsvc.streaming.segqueue_unified.create_segqueue_sse_channel;"
        "assert ratsvc.quickmem.decode(ratsvc.quickmem.encode([1])) == [1];"
        "assert all(getattr(ratsvc, name) is not None for name in dir(ratsvc));"
        "assert not hasattr(ratsvc, 'nonsense')"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
