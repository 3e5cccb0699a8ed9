"""The registry: names, the maximum, real counters, one word at the end."""

from __future__ import annotations

import threading

import pytest

from ratsvc.streaming import Connections, Sender, StreamingResponse, segqueue_unified

MAKERS = {
    "sse": segqueue_unified.create_segqueue_sse_channel,
    "chunked": segqueue_unified.create_segqueue_chunked_response,
    "json": segqueue_unified.create_segqueue_json_stream,
    "text": segqueue_unified.create_segqueue_text_stream,
    "binary": segqueue_unified.create_segqueue_binary_stream,
}


def kept(kind: str = "sse", **bounds: int) -> StreamingResponse:
    """A response that nobody forgets."""
    return MAKERS[kind](**bounds)


async def body(response: StreamingResponse) -> bytes:
    response.get_sender().end_stream()
    return await response.get_data(as_text=False)


async def test_a_name_is_taken_once_and_the_maximum_holds() -> None:
    connections = Connections(maximum=2)
    responses = [kept() for _ in range(4)]
    one, two, three, *_rest = [response.get_sender() for response in responses]
    assert connections.register("a", "addr", one)
    assert not connections.register("a", "addr", two)
    assert connections.register("b", "addr", two)
    assert not connections.register("c", "addr", three)
    assert connections.unregister("a")
    assert not connections.unregister("a")
    assert connections.register("c", "addr", three)
    assert [info.connection_id for info in connections.list()] == ["b", "c"]
    with pytest.raises(TypeError, match="Expected a sender, got str"):
        connections.register("d", "addr", "x")  # type: ignore[arg-type]
    for response in responses:
        await body(response)
    assert connections.list() == []


async def test_the_counters_are_those_of_what_was_written() -> None:
    connections = Connections()
    responses = {kind: kept(kind) for kind in MAKERS}
    for kind, response in responses.items():
        assert connections.register(kind, "addr", response.get_sender())
    responses["text"].get_sender().send_text_chunk("abc")
    responses["text"].get_sender().send_text_chunk("de")
    stats = connections.stats()
    assert (stats["active"], stats["total"], stats["maximum"]) == (5, 5, 1_000)
    assert (stats["bytes"], stats["messages"]) == (0, 0)
    assert stats["by_state"] == {"waiting": 5}
    assert stats["by_type"] == dict.fromkeys(MAKERS, 1)
    assert await body(responses["text"]) == b"abcde"
    end = await body(responses["sse"])
    stats = connections.stats()
    assert (stats["active"], stats["total"]) == (3, 5)
    assert (stats["bytes"], stats["messages"]) == (5 + len(end), 2)
    for kind in ("chunked", "json", "binary"):
        await body(responses[kind])
    assert connections.stats()["by_state"] == {}


async def test_on_disconnect_is_told_once_whoever_comes_first() -> None:
    for _ in range(50):
        connections = Connections()
        reasons: list[str] = []
        response = kept()
        assert connections.register("it", "addr", response.get_sender(), None, reasons.append)
        threads = [threading.Thread(target=connections.unregister, args=("it", f"by {n}")) for n in range(3)]
        threads.append(threading.Thread(target=response.get_channel().close, args=("closed",)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(reasons) == 1


async def test_on_disconnect_is_told_once_also_when_it_ends_the_stream_itself() -> None:
    connections = Connections()
    reasons: list[str] = []
    response = kept()

    def gone(reason: str) -> None:
        reasons.append(reason)
        response.get_channel().close("closed")
        connections.unregister("it", "again")

    assert connections.register("it", "addr", response.get_sender(), None, gone)
    assert connections.unregister("it", "tired")
    assert reasons == ["tired"]
    assert response.get_channel().close_reason == "closed"


async def test_an_on_disconnect_that_fails_is_logged_and_the_rest_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    connections = Connections()
    response = kept()
    assert connections.register("it", "addr", response.get_sender(), None, lambda reason: {}[reason])
    assert connections.unregister("it", "tired")
    assert "KeyError: 'tired'" in caplog.text
    assert connections.register("it", "addr", response.get_sender())
    await body(response)


async def test_a_broadcast_reaches_every_type_that_can_bring_it() -> None:
    connections = Connections()
    responses = {kind: kept(kind) for kind in MAKERS}
    senders = {kind: response.get_sender() for kind, response in responses.items()}
    for kind, sender in senders.items():
        assert connections.register(kind, "addr", sender)
    assert connections.broadcast("text") == 4
    assert connections.broadcast(b"\x00") == 4
    assert connections.broadcast({"n": 1}, event="news") == 2
    with pytest.raises(ValueError, match="outside"):
        connections.broadcast(2**64)
    assert await body(responses["text"]) == b"text"
    assert await body(responses["chunked"]) == b"text\x00"
    assert await body(responses["binary"]) == b"\x01\x00"
    assert await body(responses["json"]) == b'"text"\n"AA=="\n{"n":1}\n'
    assert (await body(responses["sse"])).startswith(
        b'data: text\n\ndata: "AA=="\n\nevent: news\ndata: {"n":1}\n\nevent: end\n'
    )
    assert connections.broadcast("text") == 0


async def test_a_broadcast_leaves_out_who_is_full() -> None:
    connections = Connections()
    full, free = kept("text", max_items=1), kept("text")
    senders: list[Sender] = [full.get_sender(), free.get_sender()]
    for n, sender in enumerate(senders):
        assert connections.register(str(n), "addr", sender)
    assert [connections.broadcast("x") for _ in range(4)] == [2, 2, 1, 1]
    assert await body(full) == b"xx"
    assert await body(free) == b"xxxx"


def test_shutdown_without_a_loop_waits_no_longer_than_its_grace() -> None:
    connections = Connections()
    reasons: list[str] = []
    response = kept()
    assert connections.register("it", "addr", response.get_sender(), None, reasons.append)
    assert connections.shutdown(0.05) is False
    assert reasons == ["shutdown"]
    assert connections.shutdown() is True
    assert not connections.register("new", "addr", response.get_sender())
