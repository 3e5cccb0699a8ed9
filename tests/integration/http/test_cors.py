"""Pages of other origins: what they may do, what they are told, and that nobody else is."""

from __future__ import annotations

import httpx
import pytest

from ratsvc.http_api.cors import RESPONSE_HEADERS
from tests.conftest import Running, running

APP, OTHER = "https://app.example.com", "https://other.example.com"
CROSS_SITE = {"Sec-Fetch-Site": "cross-site"}
ASK = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,idempotency-key"}


def client(server: Running, origin: str | None = APP) -> httpx.AsyncClient:
    headers = {"Origin": origin, **CROSS_SITE} if origin else {}
    return httpx.AsyncClient(base_url=server.http_url, headers=headers, timeout=10)


def cors(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


@pytest.mark.parametrize(("origins", "told"), [([APP, "http://x:1"], APP), (["*"], "*"), ([OTHER, "*"], "*")])
async def test_a_page_that_may_publishes_and_reads(origins: list[str], told: str) -> None:
    async with running(cors_origins=origins) as server, client(server) as http:
        asked = await http.options("/v1/streams/s", headers=ASK)
        assert asked.status_code == 204
        assert asked.headers["access-control-allow-origin"] == told
        assert "POST" in asked.headers["access-control-allow-methods"].split(", ")
        allowed = asked.headers["access-control-allow-headers"].lower().split(", ")
        assert {"content-type", "idempotency-key", "last-event-id"} <= set(allowed)
        assert int(asked.headers["access-control-max-age"]) > 0
        answers = [
            await http.post("/v1/streams/s", json=1),
            await http.get("/v1/streams/s?from=earliest&until=now&format=sse"),
            await http.get("/v1/streams/s?from=earliest&format=page"),
            await http.get("/v1/streams/s?format=nothing"),
            await http.get("/nothing"),
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 400, 404]
        for answer in answers:
            assert cors(answer) == {
                "access-control-allow-origin": told,
                "access-control-expose-headers": RESPONSE_HEADERS.decode(),
            }


async def test_every_answer_says_what_it_depends_on_and_is_kept_by_no_cache() -> None:
    async with running(cors_origins=[APP]) as server:
        for origin in (APP, OTHER, None):
            async with client(server, origin) as http:
                for path in ("/v1/streams/s?until=now", "/v1/streams", "/nothing"):
                    answer = await http.get(path)
                    assert answer.headers["vary"] == "Accept, Accept-Encoding, Authorization, Origin"
                    assert "no-store" in answer.headers["cache-control"]


@pytest.mark.parametrize("origins", [[], [APP]])
@pytest.mark.parametrize("origin", [OTHER, "null", APP + ".evil.com", "HTTPS://APP.EXAMPLE.COM", None])
async def test_any_other_origin_is_told_nothing_and_served_as_before(origins: list[str], origin: str | None) -> None:
    async with running(cors_origins=origins) as server, client(server, origin) as http:
        read = await http.get("/v1/streams/s?until=now")
        asked = await http.options("/v1/streams/s", headers=ASK)
        assert (read.status_code, asked.status_code) == (200, 204)
        published = await http.post("/v1/streams/s", json=1)
        assert published.status_code == (403 if origin else 200)
        assert not cors(read) | cors(asked) | cors(published)


async def test_a_page_without_an_origin_of_its_own_may_read_what_all_may_and_never_publishes() -> None:
    async with running(cors_origins=["*"]) as server, client(server, "null") as http:
        assert (await http.get("/v1/streams/s?until=now")).headers["access-control-allow-origin"] == "*"
        assert (await http.post("/v1/streams/s", json=1)).status_code == 403


async def test_an_options_that_asks_nothing_is_answered_as_ever() -> None:
    async with running(cors_origins=[APP]) as server, client(server) as http:
        answer = await http.options("/v1/streams/s")
        assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, POST, PUT"
        assert "access-control-allow-methods" not in answer.headers
        assert (await http.options("/nothing", headers=ASK)).status_code == 404


async def test_two_origins_are_none() -> None:
    async with running(cors_origins=[APP]) as server, client(server, None) as http:
        answer = await http.get("/v1/streams/s?until=now", headers=[("Origin", APP), ("Origin", APP)])
        assert not cors(answer)


@pytest.mark.parametrize("place", ["a\x80b-1", "x-\x7f1", "(evil)-1"])
async def test_a_place_with_unsafe_bytes_is_refused_and_not_said_back(place: str) -> None:
    async with running(cors_origins=["*"]) as server, client(server) as http:
        answer = await http.get("/v1/streams/s?format=sse", headers={b"Last-Event-ID": place.encode("latin-1")})
        assert (answer.status_code, answer.json()["field"]) == (400, "last-event-id")
        assert place not in answer.text
