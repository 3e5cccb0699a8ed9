"""Puts the services on a `grpc.aio.Server`: the options that bound it, the handlers, health and reflection."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection
from rat.v1 import admin_pb2, consumer_pb2, producer_pb2

from ratsvc.flow.broker import Broker
from ratsvc.grpc_api.producer import Producer
from ratsvc.settings import Settings

HEADROOM_BYTES = 1024 * 1024


def OPTIONS(settings: Settings) -> list[tuple[str, Any]]:
    return [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", settings.limits.request_bytes + HEADROOM_BYTES), ("grpc.max_send_message_length", -1), ("grpc.max_concurrent_streams", settings.limits.calls_per_connection)]


def add_services(server: grpc.aio.Server, broker: Broker) -> None:
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("rat.v1.ProducerService", Producer(broker).handlers()),))
