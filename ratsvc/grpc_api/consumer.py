"""ConsumerService: subscriptions as frames, and pages.

Frames are those of the binary format: a batch's bytes are made once for all its readers, here and over HTTP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from time import perf_counter
from typing import Any

import grpc.aio
from rat.v1 import consumer_pb2 as pb
from rat.v1 import record_pb2

from ratsvc.core.cursor import Cursor
from ratsvc.core.items import Gap, Item
from ratsvc.core.record import Batch
from ratsvc.flow.broker import Broker, Page
from ratsvc.formats.binary import MAX_FRAME_BYTES, Frames, fitting, framed_bytes, gap_message
from ratsvc.grpc_api import reading
from ratsvc.grpc_api.peer import peer_of
from ratsvc.grpc_api.status import abort, only, parsed, unary
from ratsvc.grpc_api.writing import GONE, Answers

Context = grpc.aio.ServicerContext[Any, Any]


class Consumer:
    """The service's handlers."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._frames = Frames(broker.epoch)
        self._wait_s = broker.settings.limits.body_timeout_s
        self._stall_s = broker.settings.stall_timeout_s

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """By method name, all from bytes to bytes."""
        return {
            "Subscribe": grpc.stream_stream_rpc_method_handler(self.subscribe),
            "Fetch": unary(pb.FetchRequest, self.fetch, self._wait_s),
        }

    async def subscribe(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """A Start frame, then what the log has after it, then what comes. A reader that takes nothing is cut."""
        try:
            data = await only(requests, self._wait_s)
            request = reading.subscription(parsed(pb.SubscribeRequest, data), self._broker.settings)
            opened, peer = self._broker.connections.opened, peer_of(context)
            with (
                Answers(context, self._stall_s) as answers,
                await self._broker.subscribe(request) as subscription,
                opened(peer, "grpc", subscription, request.streams),
            ):
                subscription.format, subscription.sender = "grpc", answers
                await answers.write(self._frames.start(subscription.start.offset, subscription.start.point))
                while items := await subscription.next():
                    await self._tell(items, answers)
        except GONE:
            return
        except Exception as error:
            await abort(context, error)

    async def _tell(self, items: list[Item], answers: Answers) -> None:
        figures, key = self._broker.figures, self._frames.key
        for item in items:
            figures.encoding("grpc", key, [item])
            began = perf_counter()
            frames = self._frames.frames(item)
            for frame in frames:
                await answers.write(frame)
            size = sum(map(len, frames))
            figures.told("grpc", [item], size)
            if self._broker.tracing is not None:
                self._broker.tracing.delivered([item], "grpc", size, began)

    async def fetch(self, request: pb.FetchRequest) -> pb.FetchResponse:
        """One page."""
        read, wait_s = reading.page(request, self._broker.settings)
        page = _fitting(await self._broker.fetch(read, wait_s))
        frames = [record_pb2.Frame.FromString(self._frames.item(batch)) for batch in page.batches]
        gaps: list[Gap] = page.gaps
        return pb.FetchResponse(
            batches=[frame.batch for frame in frames],
            gaps=[gap_message(gap, self._broker.epoch) for gap in gaps],
            next=str(page.next),
            ended=page.ended,
        )


def _fitting(page: Page) -> Page:
    """As much of a page, from its start, as fits into one message; one record at least."""
    left = MAX_FRAME_BYTES
    batches: list[Batch] = []
    for batch in page.batches:
        count = fitting(batch, 0, left)
        if count < len(batch):
            if count or not batches:
                batches.append(batch.part(0, count or 1))
            last = batches[-1].last
            gaps = [gap for gap in page.gaps if gap.to <= last]  # The next page says the others.
            return Page(batches, gaps, Cursor(page.next.epoch, last, batches[-1].point), ended=False)
        batches.append(batch)
        left -= framed_bytes(batch)
    return page
