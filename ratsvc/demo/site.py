"""The demos of the in-process API as one Quart app: the guest of the service in `ratsvc demo`.

Each demo is a blueprint of `examples`, with its own routes; what is added here is its page, which shows its source,
and the source alone as text. The pages' files are read once, at the start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from types import ModuleType
from typing import NamedTuple

from quart import Quart, Response, render_template

from ratsvc.demo.examples import chunked, data_value, large_file_sse, large_file_upload, performance, sse_quickmem
from ratsvc.http_api.guest import Guest
from ratsvc.http_api.web import POLICY
from ratsvc.streaming import StreamingResponse


class Demo(NamedTuple):
    """A demo and what its page and links say."""

    module: ModuleType
    title: str
    summary: str
    """In a few words."""
    curl: str
    """How to see it without a browser."""

    @property
    def name(self) -> str:
        """Of its page, script and template."""
        return self.path[1:]

    @property
    def path(self) -> str:
        """Where its page is."""
        return str(self.module.demo.url_prefix)

    @property
    def source_name(self) -> str:
        """Of its module's file."""
        return f"{self.module.__name__.rpartition('.')[2]}.py"


DEMOS = (
    Demo(data_value, "Values", "every type through packed, tree and JSON, and back",
         """-H 'Content-Type: application/json' -d '{"n": 9007199254740993}' {url}/values"""),
    Demo(large_file_upload, "Upload", "a file with its progress, and its digest while it comes",
         "-N {url}/progress  # then, with the name that it gives: curl --data-binary @FILE {url}/files/NAME"),
    Demo(sse_quickmem, "Structured events", "values encoded by quickmem over SSE, live", "-N {url}/events"),
    Demo(chunked, "Chunked", "text and bytes in one response, drawn as they come", "-N {url}/picture --output -"),
    Demo(large_file_sse, "File over SSE", "sent in events, put together and checked by the page",
         "-N '{url}/file?mib=1'"),
    Demo(performance, "Performance", "items a second by type, on this machine",
         "-N '{url}/run/mine?type=json&items=1000'"),
)  # fmt: skip
PATHS = tuple(demo.path for demo in DEMOS)


async def create_site() -> Guest:
    """The app, and what the service must know of it."""
    app = Quart(__name__, static_folder="static", static_url_path="/demos")
    app.config["MAX_CONTENT_LENGTH"] = None  # The gate counts.
    app.after_request(_under_policy)
    here = files("ratsvc.demo")
    bounds = (here / "bounds.py").read_text("utf-8")
    app.add_url_rule("/demos/bounds", "bounds", _text(bounds))
    for demo in DEMOS:
        source = (here / "examples" / demo.source_name).read_text("utf-8")
        script = (here / "static" / f"{demo.name}.js").read_text("utf-8")
        app.register_blueprint(demo.module.demo)
        app.add_url_rule(demo.path, f"{demo.name}.page", _page(demo, source, script, bounds))
        app.add_url_rule(f"{demo.path}/source", f"{demo.name}.source", _text(source))
    limits = {
        "data-value-demo.values": data_value.MAX_BYTES,
        "large-file-upload.receive": large_file_upload.MAX_BYTES,
    }
    links = await app.jinja_env.get_template("links.html").render_async(demos=DEMOS)
    return Guest(app, limits, links)


def _page(demo: Demo, source: str, script: str, bounds: str) -> Callable[[], Awaitable[str]]:
    async def view() -> str:
        shown = {"demo": demo, "demos": DEMOS, "source": source, "script": script, "bounds": bounds}
        return await render_template(f"{demo.name}.html", **shown)

    return view


def _text(text: str) -> Callable[[], Awaitable[Response]]:
    async def view() -> Response:
        return Response(text, content_type="text/plain; charset=utf-8")

    return view


async def _under_policy(response: Response) -> Response:
    """What all pages of the service have, for these too."""
    response.headers["Content-Security-Policy"] = POLICY
    if not isinstance(response, StreamingResponse):
        response.headers["Cache-Control"] = "no-cache"
    return response
