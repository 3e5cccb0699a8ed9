"""The pages under `/ui/` and `/docs`: files of the package `ratsvc.web`, read once at the start.

A path is looked up among the files that were found, so there is no path that leads elsewhere. The pages load
nothing from other hosts, and the Content-Security-Policy holds them to it.
"""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

from quart import Quart, Response, redirect
from quart.typing import ResponseReturnValue
from quart_schema import hide

from ratsvc.http_api.problem import NotFound

MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
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
#: Where in the first page links to pages of the program's own go.
_LINKS = b"<!-- pages of the program itself -->"


class Web:
    """The pages.

    Args:
        links: HTML of links to other pages, for the first one.
    """

    def __init__(self, links: str = "") -> None:
        self._files = _found(files("ratsvc") / "web", "")
        first, media_type = self._files["index.html"]
        self._files["index.html"] = first.replace(_LINKS, links.encode()), media_type

    @property
    def contents(self) -> list[bytes]:
        """The files' contents."""
        return [content for content, _ in self._files.values()]

    def add_to(self, app: Quart) -> None:
        """Adds the routes."""
        app.add_url_rule("/", "root", self.to_pages, methods=["GET"])
        app.add_url_rule("/ui", "ui", self.to_pages, methods=["GET"])
        app.add_url_rule("/ui/", "ui_index", self.index, methods=["GET"])
        app.add_url_rule("/ui/<path:path>", "ui_file", self.file, methods=["GET"])
        app.add_url_rule("/docs", "docs", self.docs, methods=["GET"])

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
        content, media_type = found
        return Response(
            content,
            200,
            {"Content-Type": media_type, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY},
        )


def _found(directory: Traversable, prefix: str) -> dict[str, tuple[bytes, str]]:
    """All files under a directory that have a known type, by relative path, with their types."""
    found: dict[str, tuple[bytes, str]] = {}
    for entry in directory.iterdir():
        if entry.is_dir():
            found |= _found(entry, f"{prefix}{entry.name}/")
        elif media_type := MEDIA_TYPES.get(entry.name.rpartition(".")[2]):
            found[prefix + entry.name] = (entry.read_bytes(), media_type)
    return found
