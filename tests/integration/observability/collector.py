"""A real OTLP receiver: a gRPC server of `opentelemetry.proto.collector.trace.v1.TraceService`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as pb_grpc


class Span:
    """A span as it arrived."""

    def __init__(self, message: Any, resource: dict[str, Any]) -> None:
        self.name: str = message.name
        self.kind: int = message.kind
        self.trace_id: str = message.trace_id.hex()
        self.span_id: str = message.span_id.hex()
        self.parent_id: str = message.parent_span_id.hex()
        self.links = [(link.trace_id.hex(), link.span_id.hex()) for link in message.links]
        self.attributes = _attributes(message.attributes)
        self.failed = message.status.code == 2
        self.began, self.ended = message.start_time_unix_nano, message.end_time_unix_nano
        self.resource = resource

    @property
    def context(self) -> tuple[str, str]:
        """What others link to."""
        return self.trace_id, self.span_id


class Collector(pb_grpc.TraceServiceServicer):
    """Keeps every span it is sent."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.spans: list[Span] = []
        self.metadata: dict[str, str] = {}
        self._came = asyncio.Event()

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Takes spans."""
        self.metadata = dict(context.invocation_metadata())
        for resource in request.resource_spans:
            about = _attributes(resource.resource.attributes)
            self.spans += [Span(span, about) for scope in resource.scope_spans for span in scope.spans]
        self._came.set()
        return pb.ExportTraceServiceResponse()

    async def wait(self, found: Callable[[list[Span]], bool]) -> None:
        """Returns when the spans so far are as wanted."""
        async with asyncio.timeout(20):
            while not found(self.spans):
                self._came.clear()
                await self._came.wait()

    def named(self, name: str) -> list[Span]:
        """The spans of that name, as they began."""
        return sorted((span for span in self.spans if span.name == name), key=lambda span: span.began)


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector that listens."""
    server = grpc.aio.server()
    collector = Collector()
    pb_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(0)


def _attributes(found: Any) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        kind = value.WhichOneof("value")
        return [plain(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind)

    return {one.key: plain(one.value) for one in found}
