"""The pages under `/ui/` and `/docs`, and the browser library at `/client.js`: files of the package `ratsvc.web`, read
once at the start.

A path is looked up among the files that were found, so there is no path that leads elsewhere. The pages load
nothing from other hosts, and the Content-Security-Policy holds them to it. Browsers keep the files, and ask each time
whether they are still the same: a service that was updated is never read by yesterday's script.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from quart import Quart, Response, redirect, request
from quart.typing import ResponseReturnValue
from quart_schema import hide

from ratsvc.http_api.problem import NotFound

MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "ts": "text/plain; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
    "png": "image/png",
    "ico": "image/x-icon",
    "woff2": "font/woff2",
    "txt": "text/plain; charset=utf-8",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:;"
    " font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
#: Where in the demo's page links to pages of the program's own go.
_LINKS = b"<!-- pages of the program itself -->"
#: The folder of the npm package, and its files that are served at the top.
_CLIENT = "client"
_CLIENT_FILES = ("client.js", "client-more.js", "client.d.ts")


class Web:
    """The pages and the browser library.

    Args:
        links: HTML of links to other pages, for the demo's page.
    """

    def __init__(self, links: str = "") -> None:
        self._files = _found(files("ratsvc") / "web", "")
        self._client = {name: self._files[f"{_CLIENT}/{name}"] for name in _CLIENT_FILES}
        self._files = {path: file for path, file in self._files.items() if not path.startswith(f"{_CLIENT}/")}
        page = self._files["demo.html"]
        self._files["demo.html"] = _File(page.content.replace(_LINKS, links.encode()), page.media_type)

    @property
    def contents(self) -> list[bytes]:
        """The files' contents."""
        return [file.content for file in (*self._files.values(), *self._client.values())]

    def add_to(self, app: Quart) -> None:
        """Adds the routes."""
        app.add_url_rule("/", "root", self.to_pages, methods=["GET"])
        app.add_url_rule("/ui", "ui", self.to_pages, methods=["GET"])
        app.add_url_rule("/ui/", "ui_index", self.index, methods=["GET"])
        app.add_url_rule("/ui/<path:path>", "ui_file", self.file, methods=["GET"])
        app.add_url_rule("/docs", "docs", self.docs, methods=["GET"])
        for name in self._client:
            app.add_url_rule(f"/{name}", "client", self.client, methods=["GET"])

    @hide
    async def to_pages(self) -> ResponseReturnValue:
        """Goes to the first page."""
        return redirect("/ui/", 303)

    @hide
    async def index(self) -> Response:
        """Shows the first page."""
        return await self.file("index.html")

    @hide
    async def docs(self) -> Response:
        """Shows the API's documentation."""
        return await self.file("docs.html")

    @hide
    async def file(self, path: str) -> Response:
        """Gives a file."""
        found = self._files.get(path)
        if found is None:
            raise NotFound("there is no such page")
        return await found.response()

    @hide
    async def client(self) -> Response:
        """Gives a file of the browser library."""
        return await self._client[request.path[1:]].response()


@dataclass(slots=True, frozen=True)
class _File:
    content: bytes
    media_type: str

    async def response(self) -> Response:
        """The file, or a 304 for who has it."""
        headers = {"Content-Type": self.media_type, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
        response = Response(self.content, 200, headers)
        await response.add_etag()
        await response.make_conditional(request)
        return response


def _found(directory: Traversable, prefix: str) -> dict[str, _File]:
    """All files under a directory that have a known type, by relative path."""
    found: dict[str, _File] = {}
    for entry in directory.iterdir():
        if entry.is_dir():
            found |= _found(entry, f"{prefix}{entry.name}/")
        elif media_type := MEDIA_TYPES.get(entry.name.rpartition(".")[2]):
            found[prefix + entry.name] = _File(entry.read_bytes(), media_type)
    return found
