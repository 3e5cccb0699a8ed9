"""client.js and deltas: patches become whole documents."""

from __future__ import annotations

import asyncio
import copy
import json
import random
import subprocess
from typing import Any

import httpx
import pytest
from rat.v1 import record_pb2 as pb
from rat.v1.value_pb2 import DataValue

from ratsvc.client import Producer
from tests.conftest import Running, running
from tests.e2e.client_js import BINARY_HEAD, SSE_HEAD, START, answering, frames, read_with
from tests.e2e.conftest import HERE
from tests.proxy import cutting

Operation = dict[str, Any]


def add(path: str, value: Any) -> Operation:
    return {"op": "add", "path": path, "value": value}


def replace(path: str, value: Any) -> Operation:
    return {"op": "replace", "path": path, "value": value}


def remove(path: str) -> Operation:
    return {"op": "remove", "path": path}


MADE: list[tuple[Any, list[Operation], Any]] = [
    # What the appendix of RFC 6902 has for these three operations, of things of our own.
    ({"bus": 4}, [add("/tram", 7)], {"bus": 4, "tram": 7}),
    ({"stops": ["a", "c"]}, [add("/stops/1", "b")], {"stops": ["a", "b", "c"]}),
    ({"bus": 4, "tram": 7}, [remove("/tram")], {"bus": 4}),
    ({"stops": ["a", "b", "c"]}, [remove("/stops/1")], {"stops": ["a", "c"]}),
    ({"bus": 4, "tram": 7}, [replace("/tram", 8)], {"bus": 4, "tram": 8}),
    ({"bus": 4}, [add("/line", {"end": {}})], {"bus": 4, "line": {"end": {}}}),
    ({"bus": 4}, [{**add("/tram", 7), "why": "unknown members are passed over"}], {"bus": 4, "tram": 7}),
    ({"/": 9, "~1": 10}, [replace("/~01", 11)], {"/": 9, "~1": 11}),
    ({"stops": ["a"]}, [add("/stops/-", ["b", "c"])], {"stops": ["a", ["b", "c"]]}),
    # And what it leaves to the reader.
    ({"bus": 4}, [add("/bus", 5)], {"bus": 5}),
    ({"a": 1, "b": 2, "c": 3}, [replace("/b", 0)], {"a": 1, "b": 0, "c": 3}),
    ([], [add("/0", 1), add("/0", 0), add("/2", 2)], [0, 1, 2]),
    ([1, [2, [3]]], [replace("/1/1/0", 4), remove("/0")], [[2, [4]]]),
    ({"": {"": 1}}, [replace("//", 2)], {"": {"": 2}}),
    ({"a/b": 1, "m~n": 2, " ": 3}, [remove("/a~1b"), remove("/m~0n"), replace("/ ", None)], {" ": None}),
    ({"0": "an object's member"}, [replace("/0", 1)], {"0": 1}),
    ({"a": {}}, [add("/a/__proto__", 5), add("/__proto__", {"x": 1})], {"a": {"__proto__": 5}, "__proto__": {"x": 1}}),
    ({"a": 1}, [], {"a": 1}),
    ({"a": 1}, [replace("", [2])], [2]),
]  # fmt: skip
REFUSED: list[tuple[Any, Operation]] = [
    ({"a": 1}, add("/b/c", 1)), ({"a": 1}, remove("/b")), ({"a": 1}, replace("/b", 1)), ({"a": 1}, add("/a/b", 1)),
    ({"a": None}, add("/a/b", 1)), ({}, remove("/__proto__")), ({}, replace("/constructor", 1)),
    ({}, add("/constructor/prototype", 1)), ([1], add("/2", 1)), ([1], remove("/1")), ([1], replace("/-", 1)),
    ([1], remove("/-")), ([[1]], add("/-/0", 1)), ([1], add("/01", 1)), ([1], add("/1e0", 1)), ([1], add("/+1", 1)),
    ([1], add("/ 1", 1)), ([1], add("/length", 1)), ([1], add("/-1", 1)), ({"a": 1}, add("a", 1)),
    ({"a": 1}, {"op": "test", "path": "/a", "value": 1}), ({"a": 1}, {"op": "move", "from": "/a", "path": "/b"}),
    ({"a": 1}, {"op": "copy", "from": "/a", "path": "/b"}),
]  # fmt: skip


def patched(node: str, pairs: list[Any]) -> Any:
    command = [node, str(HERE / "node/patch.mjs"), json.dumps(pairs)]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout)


def test_operations_make_the_document_and_leave_the_one_before_as_it_was(node: str) -> None:
    found = patched(node, [[document, operations] for document, operations, _ in MADE])
    assert found == [[made, document] for document, _, made in MADE]
    assert [list(one[0]) for one in found[:1] + found[10:11]] == [["bus", "tram"], ["a", "b", "c"]]


def test_operations_that_do_not_fit_are_refused(node: str) -> None:
    found = patched(node, [[document, [operation]] for document, operation in REFUSED])
    assert [(one, pair) for one, pair in zip(found, REFUSED, strict=True) if not isinstance(one, str)] == []


Said = tuple[str, int, str, Any]
STEPS: list[Said] = [
    ("value", 1, "k", {"lat": 1.5, "stops": ["a", "b"]}),
    ("value", 2, "", {"of": "no key"}),
    ("patch", 3, "k", [replace("/lat", 2.5), remove("/stops/0")]),
    ("patch", 4, "", [add("/and", 1.5)]),
    ("patch", 5, "k", []),
    ("value", 6, "k", ["whole again"]),
    ("patch", 7, "k", [add("/-", None)]),
]
DOCUMENTS = [
    {"lat": 1.5, "stops": ["a", "b"]}, {"of": "no key"}, {"lat": 2.5, "stops": ["b"]}, {"of": "no key", "and": 1.5},
    {"lat": 2.5, "stops": ["b"]}, ["whole again"], ["whole again", None],
]  # fmt: skip


def sse(steps: list[Said]) -> bytes:
    body = b""
    for kind, offset, key, content in steps:
        record = {
            "stream": "s",
            "offset": offset,
            "cursor": f"e-{offset}",
            "time": "2026-01-01T00:00:00Z",
            kind: content,
        }
        body += f"id: e-{offset}\ndata: {json.dumps(record | ({'key': key} if key else {}))}\n\n".encode()
    return SSE_HEAD + body + b'id: e-9\nevent: end\ndata: {"cursor":"e-9","reason":"ended"}\n\n'


def value_of(content: Any) -> bytes:
    return DataValue(json=json.dumps(content).encode()).SerializeToString()


def binary(steps: list[Said]) -> bytes:
    body = frames(START)
    for kind, offset, key, content in steps:
        if kind == "value":
            record = pb.Record(value=DataValue.FromString(value_of(content)), key=key)
            body += frames(pb.Frame(batch=pb.RecordBatch(stream="s", first_offset=offset, records=[record])))
            continue
        operations = [
            pb.PatchOperation(
                op=one["op"],
                path=one["path"],
                value=DataValue.FromString(value_of(one["value"])) if "value" in one else None,
            )
            for one in content
        ]
        body += frames(pb.Frame(patch=pb.Patch(stream="s", offset=offset, key=key, operations=operations)))
    return BINARY_HEAD + body + frames(pb.Frame(end=pb.End(cursor="e-9", reason="ended")))


@pytest.mark.parametrize("format", ["sse", "binary"])
async def test_a_reader_gets_whole_documents(node: str, format: str) -> None:
    async def answer(number: int, head: str, writer: asyncio.StreamWriter) -> None:
        assert "delta=json-patch" in head
        writer.write((sse if format == "sse" else binary)(STEPS))

    async with answering(answer) as url:
        read = await read_with(node, f"{url}?delta=json-patch", format=format, share=True)
    assert read.values() == DOCUMENTS
    assert [(one["cursor"], one["key"]) for one in read.all("record")] == [(f"e-{n}", key) for _, n, key, _ in STEPS]
    assert not any("patch" in one for one in read.all("record"))


@pytest.mark.timeout(100)
@pytest.mark.parametrize("format", ["sse", "binary"])
async def test_documents_of_a_service_are_whole_over_lost_connections(node: str, format: str) -> None:
    rng = random.Random(5)
    buses: list[dict[str, Any]] = [{"name": f"bus {n}", "about": "x" * 200, "stops": ["a", "b"]} for n in range(3)]
    sent = []
    async with (
        running(retry_ms=100, compression={"enabled": False}) as server,
        cutting(server.http_port, 6_000, seed=4) as proxy,
        Producer(server.grpc_addr) as producer,
    ):
        for n in range(400):
            at = rng.randrange(len(buses))
            buses[at]["at"] = n / 4
            buses[at]["stops"].insert(rng.randrange(3), f"{n}/~")
            buses[at]["stops"].pop(rng.randrange(3))
            sent.append(copy.deepcopy(buses[at]))
            await producer.send("s", buses[at], key=str(at))
        await producer.flush()
        await server.broker.end("s")
        async with httpx.AsyncClient(base_url=server.http_url) as http:
            told = await http.get("/v1/streams/s?delta=json-patch&from=earliest&until=now&format=ndjson")
        assert told.text.count('"patch"') > 300
        url = f"http://127.0.0.1:{proxy.port}/v1/streams/s?from=earliest&delta=json-patch"
        read = await read_with(node, url, format=format, retry=50)
        assert proxy.cuts >= 3
    assert read.values() == sent


@pytest.mark.parametrize("steps", [STEPS[2:3], [STEPS[0], ("patch", 2, "k", [remove("/nothing")])]])
async def test_a_patch_that_does_not_fit_is_an_error(node: str, steps: list[Said]) -> None:
    async def answer(number: int, head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(sse(steps))

    async with answering(answer) as url:
        read = await read_with(node, f"{url}?delta=json-patch")
    (error,) = read.all("error")
    assert (error["name"], error["status"]) == ("RatError", 200)
    assert error["detail"].startswith("a patch of s k cannot be applied: ")


@pytest.mark.parametrize("format", ["sse", "binary"])
async def test_documents_over_the_bound_are_forgotten_and_asked_for_anew(
    server: Running, node: str, format: str
) -> None:
    documents = [{"about": "x" * 100, "key": key, "round": n} for n in range(6) for key in (*range(8), 0, 0)]
    async with Producer(server.grpc_addr) as producer:
        for document in documents:
            await producer.send("s", document, key=str(document["key"]))
    url = f"{server.http_url}/v1/streams/s?from=earliest&delta=json-patch&limit=55"
    options = {"format": format, "int64": "number"}
    read = await read_with(node, url, **options, maxDocuments=5)
    assert read.values() == documents[:55]
    assert [end["reason"] for end in read.all("end")] == ["limit"]
    reasons = [said["reason"] for said in read.said if said.get("state") == "reconnecting"]
    assert len(reasons) == 5
    assert set(reasons) == {"forgotten"}
    enough = await read_with(node, url, **options, maxDocuments=8)
    assert enough.values() == documents[:55]
    assert "reconnecting" not in enough.all("state")
    refused = await read_with(node, url, maxDocuments=0)
    assert [error["message"] for error in refused.all("error")] == ["maxDocuments must be 1 or more"]
