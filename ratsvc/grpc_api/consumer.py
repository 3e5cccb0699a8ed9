"""ConsumerService: subscriptions as frames, and pages.

Frames are those of the binary format: a batch's bytes are made once for all its readers, here and over HTTP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
from rat.v1 import consumer_pb2 as pb
from rat.v1 import record_pb2

from ratsvc.core.record import Gap
from ratsvc.errors import RatError
from ratsvc.flow.broker import Broker
from ratsvc.formats.binary import Frames, gap_message
from ratsvc.grpc_api import reading
from ratsvc.grpc_api.status import abort, parsed, unary

Context = grpc.aio.ServicerContext[Any, Any]


class Consumer:
    """The service's handlers."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._frames = Frames(broker.epoch)

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """By method name, all from bytes to bytes."""
        return {
            "Subscribe": grpc.unary_stream_rpc_method_handler(self.subscribe),
            "Fetch": unary(pb.FetchRequest, self.fetch),
        }

    async def subscribe(self, data: bytes, context: Context) -> AsyncIterator[bytes]:
        """A Start frame, then what the log has after it, then what comes."""
        try:
            request = reading.subscription(parsed(pb.SubscribeRequest, data), self._broker.settings)
            subscription = await self._broker.subscribe(request)
        except RatError as error:
            await abort(context, error)
            return
        with subscription:
            yield self._frames.start(subscription.start_offset)
            while items := await subscription.next():
                for item in items:
                    yield self._frames.item(item)

    async def fetch(self, request: pb.FetchRequest) -> pb.FetchResponse:
        """One page."""
        read, wait_s = reading.page(request, self._broker.settings)
        page = await self._broker.fetch(read, wait_s)
        frames = [record_pb2.Frame.FromString(self._frames.item(batch)) for batch in page.batches]
        gaps: list[Gap] = page.gaps
        return pb.FetchResponse(
            batches=[frame.batch for frame in frames],
            gaps=[gap_message(gap, self._broker.epoch) for gap in gaps],
            next=str(page.next),
            ended=page.ended,
        )
