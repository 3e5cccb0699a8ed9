"""What streams promise: their own data and nothing else, in order, at once, and no way out of a block."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
import time
from collections import defaultdict

import pytest
from httpx_sse import aconnect_sse
from hypothesis import given
from hypothesis import strategies as st
from quart.typing import ResponseReturnValue

from ratsvc.streaming import Sender, StreamFullError, StreamingResponse, StreamTypeError, segqueue_unified

from .conftest import Site

MAKERS = {
    "sse": segqueue_unified.create_segqueue_sse_channel,
    "chunked": segqueue_unified.create_segqueue_chunked_response,
    "json": segqueue_unified.create_segqueue_json_stream,
    "text": segqueue_unified.create_segqueue_text_stream,
    "binary": segqueue_unified.create_segqueue_binary_stream,
}


async def body(response: StreamingResponse) -> bytes:
    response.get_sender().end_stream()
    return await response.get_data(as_text=False)


async def test_200_streams_at_once_never_see_each_others_data(site: Site) -> None:
    senders: dict[str, Sender] = {}

    @site.app.route("/<kind>/<name>")
    async def view(kind: str, name: str) -> ResponseReturnValue:
        response = MAKERS[kind]()
        senders[name] = response.get_sender()
        return response

    def send_all() -> None:
        for round_ in range(20):
            for name, sender in senders.items():
                if name.startswith("json"):
                    sender.send_json_chunk([name, round_])
                else:
                    sender.send_sse_json([name, round_])
        for sender in senders.values():
            sender.end_stream()

    async def read(kind: str, n: int) -> None:
        name = f"{kind}{n}"
        reader, writer = await site.connect(f"/{kind}/{name}")
        text = (await asyncio.wait_for(reader.read(-1), 30)).decode()
        writer.close()
        for round_ in range(20):
            assert text.count(json.dumps([name, round_], separators=(",", ":"))) == 1
        assert text.count("[") == 20

    tasks = [asyncio.create_task(read("sse" if n % 2 else "json", n)) for n in range(200)]
    async with asyncio.timeout(30):
        while len(senders) < 200:
            await asyncio.sleep(0.01)
    await asyncio.to_thread(send_all)
    await asyncio.gather(*tasks)


async def test_eight_threads_through_one_sender_lose_nothing_and_keep_each_ones_order(site: Site) -> None:
    each = 5_000

    def work(sender: Sender, thread: int) -> None:
        for n in range(each):
            while True:
                try:
                    assert sender.send_json_chunk([thread, n])
                    break
                except StreamFullError:
                    time.sleep(0.001)

    def work_all(sender: Sender) -> None:
        threads = [threading.Thread(target=work, args=(copy.deepcopy(sender), n)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sender.end_stream()

    @site.app.route("/")
    async def view() -> ResponseReturnValue:
        response = segqueue_unified.create_segqueue_json_stream(max_items=2_000)
        threading.Thread(target=work_all, args=(response.get_sender(),)).start()
        return response

    found: dict[int, list[int]] = defaultdict(list)
    async with site.http.stream("GET", "/") as response:
        async for line in response.aiter_lines():
            thread, n = json.loads(line)
            found[thread].append(n)
    assert dict(found) == {thread: list(range(each)) for thread in range(8)}


async def test_the_first_bytes_arrive_before_the_last_send(site: Site) -> None:
    go_on = threading.Event()

    def work(sender: Sender) -> None:
        sender.send_text_chunk("first")
        if go_on.wait(10):
            sender.send_text_chunk("last")
        sender.end_stream()

    @site.app.route("/")
    def view() -> ResponseReturnValue:
        response = segqueue_unified.create_segqueue_text_stream()
        threading.Thread(target=work, args=(response.get_sender(),)).start()
        return response

    async with site.http.stream("GET", "/") as response:
        chunks = response.aiter_text()
        assert await anext(chunks) == "first"
        go_on.set()
        assert "".join([chunk async for chunk in chunks]) == "last"


async def test_sends_from_tasks_on_the_loop_itself_arrive_one_by_one(site: Site) -> None:
    @site.app.route("/")
    async def view() -> ResponseReturnValue:
        response = segqueue_unified.create_segqueue_sse_channel()

        async def work(sender: Sender) -> None:
            for n in range(5):
                sender.send_sse_json(n)
                await asyncio.sleep(0.02)
            sender.end_stream()

        site.app.add_background_task(work, response.get_sender())
        return response

    times = []
    async with aconnect_sse(site.http, "GET", "/") as source:
        async for event in source.aiter_sse():
            times.append((event.data, time.monotonic()))
    assert [data for data, _ in times[:5]] == list("01234")
    assert times[4][1] - times[0][1] > 0.05


@pytest.mark.parametrize(
    "text",
    [
        "a\nb",
        "a\rb",
        "a\r\nb",
        "",
        "\n",
        " a",
        "a\n\nevent: evil\ndata: x",
        "id: 1",
        "\ndata: x\n\n",
        "ü\u2028\x85\x0b",
        ": c",
    ],
)
async def test_a_text_arrives_as_it_is_and_injects_nothing(site: Site, text: str) -> None:
    @site.app.route("/")
    async def view() -> ResponseReturnValue:
        response = segqueue_unified.create_segqueue_sse_channel()
        response.get_sender().send_sse_data(text)
        response.get_sender().send_sse_event("t", text)
        response.get_sender().send_sse_json({"text": text})
        response.get_sender().end_stream()
        return response

    wanted = text.replace("\r\n", "\n").replace("\r", "\n")
    async with aconnect_sse(site.http, "GET", "/") as source:
        found = [event async for event in source.aiter_sse()]
    assert [(event.event, event.id, event.retry) for event in found] == [
        ("message", "", None), ("t", "", None), ("message", "", None), ("end", "", None),
    ]  # fmt: skip
    if not set("\u2028\x85\x0b") & set(text):  # httpx splits lines at more than SSE does
        assert (found[0].data, found[1].data) == (wanted, wanted)
        assert json.loads(found[2].data) == {"text": text}


def parse(stream: bytes) -> list[tuple[str, str]]:
    """Events by the rules of WHATWG HTML, section 9.2.6."""
    events: list[tuple[str, str]] = []
    data, event = "", ""
    for line in stream.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if not line:
            if data:
                events.append((event or "message", data[:-1]))
            data, event = "", ""
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data += value + "\n"
        elif name == "event":
            event = value
        else:
            assert not name, line
    return events


@given(st.lists(st.tuples(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=32),
                          st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\r\n: ")))))  # fmt: skip
async def test_any_events_are_read_as_they_were_sent(events: list[tuple[str, str]]) -> None:
    response = segqueue_unified.create_segqueue_sse_channel()
    for event, text in events:
        assert response.get_sender().send_sse_event(event, text)
    wanted = [(event or "message", text.replace("\r\n", "\n").replace("\r", "\n")) for event, text in events]
    assert parse(await body(response)) == [*wanted, ("end", '{"reason":"ended"}')]


@pytest.mark.parametrize("event", ["a\nb", "a\r", "\0", "x\n\ndata: evil"])
async def test_an_event_type_cannot_break_out(event: str) -> None:
    response = segqueue_unified.create_segqueue_sse_channel()
    with pytest.raises(ValueError, match="line breaks or NUL"):
        response.get_sender().send_sse_event(event, "x")
    with pytest.raises(ValueError, match="line breaks or NUL"):
        response.get_sender().send_large_file(event, b"x")
    with pytest.raises(ValueError, match="at most 128 bytes"):
        response.get_sender().send_sse_event("é" * 65, "x")
    assert parse(await body(response)) == [("end", '{"reason":"ended"}')]


CALLS = {
    "send_sse_event": ("e", "x"),
    "send_sse_data": ("x",),
    "send_sse_json": ({},),
    "send_event": ("e", "x"),
    "send_data": ("x",),
    "send_text_chunk": ("x",),
    "send_json_chunk": ({},),
    "send_binary_chunk": (b"x",),
    "send_large_file": ("e", b"x"),
    "send_heartbeat": (),
}
FIT = {
    "sse": {"send_sse_event", "send_sse_data", "send_sse_json", "send_event", "send_data", "send_large_file",
            "send_heartbeat"},
    "chunked": {"send_text_chunk", "send_binary_chunk", "send_large_file"},
    "json": {"send_json_chunk", "send_heartbeat"},
    "text": {"send_text_chunk"},
    "binary": {"send_binary_chunk", "send_large_file"},
}  # fmt: skip


@pytest.mark.parametrize("kind", MAKERS)
async def test_a_call_that_does_not_fit_the_type_raises_and_queues_nothing(kind: str) -> None:
    for call, arguments in CALLS.items():
        response = MAKERS[kind]()
        sender = response.get_sender()
        empty = await body(MAKERS[kind]())
        if call in FIT[kind]:
            assert getattr(sender, call)(*arguments) is True
            assert await body(response) != empty
            assert getattr(sender, call)(*arguments) is False
        else:
            with pytest.raises(StreamTypeError, match=f"does not fit a {kind} stream, which takes send_"):
                getattr(sender, call)(*arguments)
            assert await body(response) == empty
    with pytest.raises(AttributeError, match="use send_sse_json on an SSE stream, send_json_chunk on a JSON stream"):
        sender.send_json({})


async def test_what_cannot_be_encoded_raises_and_queues_nothing() -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    sender = (response := MAKERS["sse"]()).get_sender()
    for value in (cycle, 2**64, {1: 2}, "\ud800"):
        with pytest.raises(ValueError, match=r"value|surrogates"):
            sender.send_sse_json(value)
    for call in (lambda: sender.send_sse_json(object()), lambda: sender.send_sse_data(b"x"),  # type: ignore[arg-type]
                 lambda: sender.send_sse_event(1, "x"), lambda: sender.send_sse_event("e", {1}),  # type: ignore[arg-type]
                 lambda: sender.send_large_file("e", "text")):  # type: ignore[arg-type]  # fmt: skip
        with pytest.raises(TypeError):
            call()
    assert parse(await body(response)) == [("end", '{"reason":"ended"}')]
    chunked = MAKERS["chunked"]()
    with pytest.raises(TypeError, match="Expected bytes data"):
        chunked.get_sender().send_binary_chunk("text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="surrogates"):
        chunked.get_sender().send_text_chunk("\ud800")
    assert await body(chunked) == b""


async def test_a_value_may_be_changed_after_it_was_sent() -> None:
    value = {"n": 1}
    response = MAKERS["json"]()
    response.get_sender().send_json_chunk(value)
    value["n"] = 2
    response.get_sender().send_json_chunk(value)
    assert await body(response) == b'{"n":1}\n{"n":2}\n'


async def test_what_waits_is_bounded_in_items_and_bytes() -> None:
    response = segqueue_unified.create_segqueue_text_stream(max_items=10)
    for _ in range(11):
        assert response.get_sender().send_text_chunk("x")
    with pytest.raises(StreamFullError, match="11 items and 11 bytes wait"):
        response.get_sender().send_text_chunk("x")
    assert await body(response) == b"x" * 11
    response = segqueue_unified.create_segqueue_text_stream(max_bytes=1000)
    response.get_sender().send_text_chunk("x" * 5000)
    with pytest.raises(StreamFullError, match="at most 100000 and 1000 may"):
        response.get_sender().send_text_chunk("x")
    assert await body(response) == b"x" * 5000


async def test_an_idle_sse_stream_sends_comments_and_a_json_stream_nothing(site: Site) -> None:
    senders: list[Sender] = []

    @site.app.route("/")
    async def view() -> ResponseReturnValue:
        response = segqueue_unified.create_segqueue_sse_channel(heartbeat_s=0.05)
        senders.append(response.get_sender())
        return response

    reader, writer = await site.connect("/")
    got = b""
    async with asyncio.timeout(10):
        while got.count(b"3\r\n:\n\n\r\n") < 3:
            got += await reader.read(100)
    senders[0].send_sse_data("x")
    senders[0].end_stream()
    assert b"data: x\n\n" in await reader.read(-1)
    writer.close()


async def test_a_head_request_is_answered_and_ends_the_stream(site: Site) -> None:
    senders: list[Sender] = []

    @site.app.route("/")
    def view() -> ResponseReturnValue:
        response = segqueue_unified.create_segqueue_sse_channel()
        senders.append(response.get_sender())
        return response

    response = await site.http.head("/")
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream")
    assert not senders[0].is_connected()
    assert not senders[0].send_sse_data("x")


async def test_a_response_serves_one_request_only(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    kept = segqueue_unified.create_segqueue_text_stream()
    sender = kept.get_sender()
    sender.send_text_chunk("secret")

    @site.app.route("/")
    async def view() -> ResponseReturnValue:
        return kept

    async with site.http.stream("GET", "/") as first:
        chunks = first.aiter_text()
        assert await anext(chunks) == "secret"
        reader, writer = await site.connect("/")
        assert await reader.read(-1) == b""  # not even the end of the body
        writer.close()
        assert "can be returned once" in caplog.text
        caplog.clear()
        assert sender.send_text_chunk("more")
        sender.end_stream()
        assert [chunk async for chunk in chunks] == ["more"]
