"""A channel: one wake-up a burst, nothing that was taken lost, ended and closed once."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator

import pytest

from ratsvc.streaming import StreamFullError, segqueue_unified
from ratsvc.streaming.channel import Channel, serving
from ratsvc.streaming.encoding import ResponseType
from ratsvc.streaming.large import Pieces, Source


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


async def test_a_burst_costs_one_wake_up(monkeypatch: pytest.MonkeyPatch) -> None:
    response = segqueue_unified.create_segqueue_text_stream()
    sender = response.get_sender()
    loop = asyncio.get_running_loop()
    calls: list[object] = []
    real = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *args, **named: (calls.append(args), real(*args, **named)))
    blocks: list[bytes] = []

    async def read() -> None:
        async with response.response as body:
            async for block in body:
                blocks.append(block)

    task = asyncio.create_task(read())
    for burst in range(3):
        await asyncio.sleep(0.01)
        for n in range(1_000):
            assert sender.send_text_chunk(f"{n} ")
        assert len(calls) == burst + 1
        await asyncio.sleep(0.01)
        assert len(blocks) == burst + 1
    sender.end_stream()
    await task
    assert blocks == ["".join(f"{n} " for n in range(1_000)).encode()] * 3
    assert response.get_channel().sent_messages == 3_000
    assert response.get_channel().close_reason == "ended"
    assert not serving


@pytest.mark.usefixtures("hasty")
async def test_what_was_taken_arrives_however_the_end_falls() -> None:
    for _ in range(20):
        response = segqueue_unified.create_segqueue_text_stream(max_items=10**9)
        sender = response.get_sender()
        taken = [0] * 3

        def work(thread: int) -> None:
            while sender.send_text_chunk("x"):  # noqa: B023 - it ends before the next round
                taken[thread] += 1  # noqa: B023

        threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        reading = asyncio.create_task(response.get_data(as_text=False))
        await asyncio.sleep(0.001)
        sender.end_stream()
        body = await reading
        for thread in threads:
            thread.join()
        # A thread that was told that its last item was not taken may see it arrive all the same.
        assert sum(taken) <= len(body) <= sum(taken) + 3


def test_a_channel_closes_once_and_says_so_once_to_each() -> None:
    channel = Channel(ResponseType.TEXT)
    said: list[str] = []
    channel.on_close(said.append)
    threads = [threading.Thread(target=channel.close, args=(f"reason {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 1
    assert channel.close_reason == channel.end_reason == said[0]
    channel.on_close(said.append)
    assert said == [said[0]] * 2
    assert channel.push(b"x") is False
    assert channel.state == "closed"


def test_a_listener_that_fails_hinders_no_other(caplog: pytest.LogCaptureFixture) -> None:
    channel = Channel(ResponseType.TEXT)
    said: list[str] = []
    channel.on_close(lambda reason: said.append(str(1 / 0)))
    channel.on_close(said.append)
    channel.cut("cut")
    assert said == ["cut"]
    assert "on_disconnect failed" in caplog.text


def test_what_waits_for_a_channel_that_closes_is_let_go() -> None:
    closed: list[int] = []
    pieces = Pieces(b"x")
    pieces.close = lambda: closed.append(1)  # type: ignore[method-assign]
    channel = Channel(ResponseType.CHUNKED, max_bytes=1)
    assert channel.push(Source(pieces, bytes))
    with pytest.raises(StreamFullError):
        channel.push(b"x")
    channel.close("gone")
    assert closed == [1]
    assert channel.push(b"x") is False


def test_the_state_says_how_far_a_channel_is() -> None:
    async def states() -> list[str]:
        response = segqueue_unified.create_segqueue_text_stream()
        channel, sender = response.get_channel(), response.get_sender()
        found = [channel.state]
        sender.send_text_chunk("x")
        async with response.response as body:
            async for _ in body:
                found.append(channel.state)
                sender.end_stream()
                found.append(channel.state)
        return [*found, channel.state]

    assert asyncio.run(states()) == ["waiting", "streaming", "ending", "closed"]


def test_a_sender_is_one_as_long_as_it_is_held() -> None:
    response = segqueue_unified.create_segqueue_text_stream()
    channel = response.get_channel()
    assert channel.orphaned_for is not None
    sender = response.get_sender()
    assert response.get_sender() is channel.get_sender() is sender
    assert channel.orphaned_for is None
    del sender
    assert channel.orphaned_for is not None
    response.get_sender().end_stream()


async def test_pushes_after_the_loop_has_gone_do_no_harm() -> None:
    sender = await asyncio.to_thread(lambda: asyncio.run(_left_open()))
    assert sender.send_text_chunk("x") is False  # type: ignore[attr-defined]


async def _left_open() -> object:
    response = segqueue_unified.create_segqueue_text_stream()
    sender = response.get_sender()
    task = asyncio.create_task(response.get_data(as_text=False))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    return sender
