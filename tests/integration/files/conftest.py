"""For the tests of files: a stub and a client of the running service."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio
import httpx
import pytest_asyncio
from rat.v1 import producer_pb2_grpc

from tests.conftest import Running


@pytest_asyncio.fixture
async def stub(server: Running) -> AsyncIterator[producer_pb2_grpc.ProducerServiceStub]:
    async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
        yield producer_pb2_grpc.ProducerServiceStub(channel)


@pytest_asyncio.fixture
async def http(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.http_url, timeout=10) as client:
        yield client
