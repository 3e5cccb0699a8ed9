"""The files that browsers load: what they are, how long they are kept, and who may import the library."""

from __future__ import annotations

import httpx
import pytest

from tests.conftest import running

LIBRARY = {"/client.js": "text/javascript", "/client-more.js": "text/javascript", "/client.d.ts": "text/plain"}


@pytest.mark.parametrize("path", [*LIBRARY, "/ui/", "/ui/page.js"])
async def test_a_file_is_kept_and_asked_for_again_only_when_it_changed(http: httpx.AsyncClient, path: str) -> None:
    first = await http.get(path)
    assert (first.status_code, first.headers["cache-control"]) == (200, "no-cache")
    assert first.headers["content-type"].startswith(LIBRARY.get(path, "text/"))
    tag = first.headers["etag"].removeprefix("W/")  # compressed, it is a weak one
    for known in (tag, f"W/{tag}"):
        again = await http.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await http.get(path, headers={"If-None-Match": '"another"'})).content == first.content
    head = await http.head(path)
    assert (head.status_code, head.content, head.headers["etag"].removeprefix("W/")) == (200, b"", tag)


async def test_the_library_is_served_in_one_place(http: httpx.AsyncClient) -> None:
    for path in ("/ui/client/client.js", "/ui/client/package.json", "/client", "/client-none.js", "/package.json"):
        assert (await http.get(path)).status_code == 404


async def test_pages_of_allowed_origins_may_import_the_library() -> None:
    async with running(cors_origins=["https://app.example"]) as server:
        for origin, allowed in (("https://app.example", "https://app.example"), ("https://other.example", None)):
            async with httpx.AsyncClient(base_url=server.http_url, headers={"Origin": origin}) as http:
                for path in LIBRARY:
                    first = await http.get(path)
                    again = await http.get(path, headers={"If-None-Match": first.headers["etag"]})
                    for answer in (first, again):
                        assert answer.headers.get("access-control-allow-origin") == allowed
                        assert "Origin" in answer.headers["vary"]
