"""StreamService: making, showing, listing, changing, ending and removing streams."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from rat.v1 import admin_pb2 as pb

from ratsvc.core.registry import StreamInfo
from ratsvc.core.retention import Retention
from ratsvc.errors import InvalidArgument
from ratsvc.flow.broker import Broker
from ratsvc.grpc_api import reading
from ratsvc.grpc_api.status import unary
from ratsvc.names import check_name, check_pattern

MAX_PAGE = 1_000
DEFAULT_PAGE = 100


class Streams:
    """The service's handlers."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """By method name, all from bytes to bytes."""
        wait_s = self._broker.settings.limits.body_timeout_s
        return {
            "CreateStream": unary(pb.CreateStreamRequest, self.create, wait_s),
            "GetStream": unary(pb.GetStreamRequest, self.get, wait_s),
            "ListStreams": unary(pb.ListStreamsRequest, self.list, wait_s),
            "UpdateStream": unary(pb.UpdateStreamRequest, self.update, wait_s),
            "EndStream": unary(pb.EndStreamRequest, self.end, wait_s),
            "PurgeStream": unary(pb.PurgeStreamRequest, self.purge, wait_s),
            "DeleteStream": unary(pb.DeleteStreamRequest, self.delete, wait_s),
        }

    async def create(self, request: pb.CreateStreamRequest) -> pb.CreateStreamResponse:
        """Makes a stream."""
        asked = _retention(request.retention) if request.HasField("retention") else None
        info = await self._broker.create(check_name(request.name, "name"), asked)
        return pb.CreateStreamResponse(stream=self._stream(info))

    async def get(self, request: pb.GetStreamRequest) -> pb.GetStreamResponse:
        """Shows a stream."""
        return pb.GetStreamResponse(stream=self._stream(self._broker.info(check_name(request.name, "name"))))

    async def list(self, request: pb.ListStreamsRequest) -> pb.ListStreamsResponse:
        """A page of streams."""
        if request.page_size > MAX_PAGE:
            raise InvalidArgument(f"page_size must be 1 to {MAX_PAGE}", field="page_size")
        pattern = check_pattern(request.pattern or ">", "pattern")
        after = check_name(request.page_token, "page_token") if request.page_token else ""
        size = request.page_size or DEFAULT_PAGE
        found = self._broker.list(pattern, after, size + 1)
        token = found[size - 1].name if len(found) > size else ""
        return pb.ListStreamsResponse(streams=map(self._stream, found[:size]), next_page_token=token)

    async def update(self, request: pb.UpdateStreamRequest) -> pb.UpdateStreamResponse:
        """Changes the retention."""
        info = await self._broker.update(check_name(request.name, "name"), _retention(request.retention))
        return pb.UpdateStreamResponse(stream=self._stream(info))

    async def end(self, request: pb.EndStreamRequest) -> pb.EndStreamResponse:
        """Ends a stream."""
        info = await self._broker.end(check_name(request.name, "name"))
        return pb.EndStreamResponse(stream=self._stream(info))

    async def purge(self, request: pb.PurgeStreamRequest) -> pb.PurgeStreamResponse:
        """Removes the records."""
        info = await self._broker.purge(check_name(request.name, "name"))
        return pb.PurgeStreamResponse(stream=self._stream(info))

    async def delete(self, request: pb.DeleteStreamRequest) -> pb.DeleteStreamResponse:
        """Removes a stream."""
        await self._broker.delete(check_name(request.name, "name"))
        return pb.DeleteStreamResponse()

    def _stream(self, info: StreamInfo) -> pb.Stream:
        policy = info.retention
        age = Duration()
        age.FromNanoseconds(int(policy.max_age_s * 1e9))
        return pb.Stream(
            name=info.name,
            records=info.records,
            bytes=info.bytes,
            first_offset=info.first_offset,
            last_offset=info.last_offset,
            ended=info.ended,
            created=_timestamp(info.created_ns),
            updated=_timestamp(info.updated_ns) if info.updated_ns else None,
            retention=pb.Retention(max_records=policy.max_records, max_bytes=policy.max_bytes, max_age=age),
            readers=info.readers,
            cursor=f"{self._broker.epoch}-{info.last_offset}",
        )


def _retention(policy: pb.Retention) -> Retention:
    return reading.retention(policy.max_records, policy.max_bytes, policy.max_age)


def _timestamp(time_ns: int) -> Timestamp:
    found = Timestamp()
    found.FromNanoseconds(time_ns)
    return found
