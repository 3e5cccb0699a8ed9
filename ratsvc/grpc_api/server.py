"""Puts the services on a `grpc.aio.Server`: the options that bound it, the handlers, health and reflection."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from rat.v1 import admin_pb2, consumer_pb2, producer_pb2

from ratsvc.errors import RatError
from ratsvc.flow.broker import Broker
from ratsvc.grpc_api.admin import Streams
from ratsvc.grpc_api.calls import served
from ratsvc.grpc_api.consumer import Consumer
from ratsvc.grpc_api.producer import Producer
from ratsvc.grpc_api.status import abort
from ratsvc.settings import Settings

HEADROOM_BYTES = 1024 * 1024
"""A request a little over the limit gets an answer of its own; far over it the transport refuses it."""
SHOWN_METHOD = 256
"""So many characters of a method that is not here are shown."""
SERVICES = (
    producer_pb2.DESCRIPTOR.services_by_name["ProducerService"].full_name,
    consumer_pb2.DESCRIPTOR.services_by_name["ConsumerService"].full_name,
    admin_pb2.DESCRIPTOR.services_by_name["StreamService"].full_name,
)


def options(settings: Settings) -> list[tuple[str, Any]]:
    """Channel arguments (grpc/grpc: `include/grpc/impl/channel_arg_names.h`)."""
    limits = settings.limits
    minute_ms = 60_000
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", limits.request_bytes + HEADROOM_BYTES),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", limits.calls_per_connection),
        ("grpc.max_metadata_size", limits.header_bytes),
        ("grpc.keepalive_time_ms", minute_ms),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
        ("grpc.max_connection_age_ms", 30 * minute_ms),
        ("grpc.max_connection_age_grace_ms", 5 * minute_ms),
        ("grpc.server_handshake_timeout_ms", 20_000),
    ]


class Health:
    """The health of every service, for `grpc.health.v1`."""

    def __init__(self) -> None:
        self.servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]

    async def set(self, serving: bool) -> None:
        """Says whether requests are taken."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *SERVICES):
            await self.servicer.set(service, status)


class UnknownMethod(RatError):
    """No service here has this method."""

    slug, title, grpc_code = "unknown-method", "Unknown method", 12


class Unknown(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Is asked last, for a method that no service has: counts the call as `unknown`, and refuses it by its name."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """A handler that refuses the call."""
        shown = ascii(handler_call_details.method)[1:-1][:SHOWN_METHOD]

        async def refuse(_: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> None:
            await abort(context, UnknownMethod(f"there is no method {shown}"))

        handler = grpc.stream_stream_rpc_method_handler(refuse)
        return served("", "unknown", handler, self._broker, path=shown)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of gRPC's says more than that a peer had left, or its time was over, when its answer was ready."""
    return not (record.exc_info and isinstance(record.exc_info[1], grpc.aio.InternalError))


def add_services(server: grpc.aio.Server, broker: Broker) -> Health:
    """Adds `rat.v1`, health (not serving yet) and reflection."""
    all_handlers = (Producer(broker).handlers(), Consumer(broker).handlers(), Streams(broker).handlers())
    for name, bare in zip(SERVICES, all_handlers, strict=True):
        handlers = {method: served(name, method, handler, broker) for method, handler in bare.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_news)
    state = Health()
    health_pb2_grpc.add_HealthServicer_to_server(state.servicer, server)
    names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    server.add_generic_rpc_handlers((Unknown(broker),))
    return state
