"""Files posted over HTTP: what is stored, how one goes on after a break, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.conftest import Running
from tests.integration.files.uploads import DATA, content, stored
from tests.proxy import cutting


def sha256_field(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


async def test_a_file_is_posted_with_any_type_and_its_digest_is_compared_and_told(
    server: Running, http: httpx.AsyncClient
) -> None:
    for stream, body in (("a", DATA), ("b", pieces(DATA))):
        told = {"Content-Type": "video/mp4; codecs=x", "Repr-Digest": f"sha-512=:AA==:, {sha256_field(DATA)}"}
        response = await http.post(f"/v1/streams/{stream}?file=f.mp4&end=1&key=k", content=body, headers=told)
        assert response.status_code == 200, response.text
        said = response.json()
        assert (said["size"], said["sha256"], said["complete"]) == (len(DATA), hashlib.sha256(DATA).hexdigest(), True)
        assert not said["evicted"]
        records = await stored(server.broker, stream)
        assert b"".join(value for value, _ in records) == DATA
        assert records[0][1]["content-type"] == "video/mp4; codecs=x"
        assert records[0][1].get("size") == (str(len(DATA)) if stream == "a" else None)
        assert server.broker.info(stream).ended
    empty = await http.post("/v1/streams/c?file=none", content=b"")
    assert (empty.status_code, empty.json()["size"]) == (200, 0)


async def pieces(data: bytes, size: int = 50_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


@pytest.mark.parametrize("header", ["Repr-Digest", "Content-Digest"])
async def test_a_posted_file_with_a_wrong_digest_does_not_become_complete(
    server: Running, http: httpx.AsyncClient, header: str
) -> None:
    wrong = {header: sha256_field(b"other"), "Content-Type": "a/b"}
    response = await http.post("/v1/streams/f?file=x&upload_id=u&end=1", content=DATA, headers=wrong)
    problem = response.json()
    assert (response.status_code, problem["type"], problem["field"]) == (
        422,
        "/problems/digest-mismatch",
        header.lower(),
    )
    assert problem["size"] == len(DATA)
    standing = (await http.get("/v1/streams/f/uploads/u")).json()
    assert (standing["complete"], standing["size"]) == (False, len(DATA))
    assert not server.broker.info("f").ended


async def test_a_posted_file_goes_on_where_its_connection_was_cut(server: Running, http: httpx.AsyncClient) -> None:
    data = os.urandom(2 * 2**20 + 3)
    async with cutting(server.http_port, 900_000, seed=5, least_bytes=700_000) as proxy:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{proxy.port}") as broken:
            with pytest.raises(httpx.TransportError):
                await broken.post("/v1/streams/f?file=x&upload_id=u", content=data)
    while server.broker.uploads._active:
        await asyncio.sleep(0.01)
    standing = (await http.get("/v1/streams/f/uploads/u")).json()
    at = standing["size"]
    assert 0 < at < len(data)
    assert standing["sha256"] == hashlib.sha256(data[:at]).hexdigest()
    path = "/v1/streams/f?file=x&upload_id=u"
    anew = await http.post(path, content=data)
    assert (anew.status_code, anew.json()["detail"]) == (409, f"upload u stands at byte {at}: it cannot go on at 0")
    told = {"Repr-Digest": sha256_field(data), "Content-Digest": sha256_field(data[at:])}
    response = await http.post(f"{path}&position={at}", content=data[at:], headers=told)
    assert (response.status_code, response.json()["size"]) == (200, len(data)), response.text
    assert await content(server.broker, "f") == data


@pytest.mark.parametrize(
    ("query", "headers", "status", "field"),
    [
        ("file=x&split=1", {}, 400, "split"),
        ("file=x&producer=p&sequence=1", {}, 400, "producer"),
        ("file=x", {"Idempotency-Key": "k"}, 400, "upload_id"),
        ("file=x&position=1", {}, 400, "position"),
        ("file=x&upload_id=u&position=1", {}, 404, "upload_id"),
        ("file=x&upload_id=a.b", {}, 400, "upload_id"),
        ("file=x&position=-1", {}, 400, "position"),
        ("file=a%0Ab", {}, 400, "headers"),
        ("file=x", {"Repr-Digest": "sha-256=abc"}, 400, "repr-digest"),
        ("file=x", {"Content-Type": "nonsense"}, 415, "content-type"),
        ("file=x", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "content-type"),
        ("upload_id=u", {"Content-Type": "text/plain"}, 400, "upload_id"),
        ("end=1", {"Content-Type": "text/plain"}, 400, "end"),
    ],
)
async def test_a_wrong_post_of_a_file_names_what_was_wrong(
    server: Running, http: httpx.AsyncClient, query: str, headers: dict[str, str], status: int, field: str
) -> None:
    response = await http.post(f"/v1/streams/f?{query}", content=b"abc", headers=headers)
    assert (response.status_code, response.json()["field"]) == (status, field), response.text
    assert server.broker.log.last_offset == 0
