"""A producer in Node.js, made from the protos: typed values arrive as they were sent."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import google.rpc
import httpx

from ratsvc.client import Consumer, Received
from tests.conftest import Running
from tests.e2e.conftest import HERE

INCLUDES = [str(HERE.parents[1] / "protos"), str(Path(next(iter(google.rpc.__path__))).parents[1])]
VALUES: list[object] = [
    None, True, -(2**63), 2**64 - 1, 1.0, "a\nb\u2028 \U0001f600", b"\0\xff",
    datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), [1, []], {"a": 0.5, "b": {}}, "after a refusal",
]  # fmt: skip


async def test_a_node_producer_publishes_tree_values(server: Running, node: str) -> None:
    process = await asyncio.create_subprocess_exec(
        node, str(HERE / "node/producer.js"), server.grpc_addr, *INCLUDES, stdout=-1, stderr=-1, cwd=HERE
    )
    out, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, errors.decode()
    first, second, third = json.loads(out)
    assert (first["ack"]["stored"], first["ack"]["last_offset"]) == (10, "10")
    assert (second["error"]["code"], "no kind set" in second["error"]["message"]) == (3, True)
    assert third["ack"]["stored"] == 1
    found = [item async for item in Consumer(server.http_url, "node", from_="earliest", until="now")]
    assert all(isinstance(item, Received) for item in found)
    assert [(type(item.value), item.value) for item in found] == [(type(v), v) for v in VALUES]  # type: ignore[union-attr]
    assert {(item.key, item.event) for item in found[:10]} == {("k", "from-node")}  # type: ignore[union-attr]
    async with httpx.AsyncClient() as client:
        page = (await client.get(f"{server.http_url}/v1/streams/node?format=page&from=earliest")).json()
    assert page["records"][2:9] == [
        -(2**63), 2**64 - 1, 1.0, "a\nb\u2028 \U0001f600", "AP8=", "2026-01-02T03:04:05.678901Z", [1, []],
    ]  # fmt: skip
