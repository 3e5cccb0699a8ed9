"""`ratsvc streams`: lists, shows, makes, ends, purges and deletes streams, over HTTP."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from ratsvc.cli.addresses import HTTP, HttpAddress, url
from ratsvc.client.status import error_of_problem

streams = typer.Typer(
    no_args_is_help=False, invoke_without_command=True, help="List, show, make, end and remove streams."
)

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")]
NameArgument = Annotated[str, typer.Argument(help="The stream's name.")]
PAGE = 1_000


@streams.callback()
def root(context: typer.Context, http: HttpAddress = HTTP, as_json: JsonOption = False) -> None:
    """List, show, make, end and remove streams. Without a command: list."""
    if context.invoked_subcommand is None:
        list_streams(">", http, as_json)


@streams.command("list")
def list_streams(
    pattern: Annotated[str, typer.Argument(help="Which streams: a pattern.")] = ">",
    http: HttpAddress = HTTP,
    as_json: JsonOption = False,
) -> None:
    """List the streams that a pattern covers."""
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        query = {"pattern": pattern, "limit": str(PAGE)} | ({"after": after} if after else {})
        page = _request(http, "GET", "", params=query)
        found += page["streams"]
        after = page.get("next") or ""
        if not after:
            break
    if as_json:
        typer.echo(json.dumps(found))
        return
    _table(found)


@streams.command()
def show(name: NameArgument, http: HttpAddress = HTTP) -> None:
    """Show one stream."""
    _print(_request(http, "GET", f"/{name}/info"))


@streams.command()
def create(
    name: NameArgument,
    max_records: Annotated[int | None, typer.Option(min=1, help="How many records are kept.")] = None,
    max_bytes: Annotated[int | None, typer.Option(min=1, help="How many bytes are kept.")] = None,
    max_age: Annotated[str | None, typer.Option(help="How old a record may be: 90s, 15m, 24h, 7d.")] = None,
    http: HttpAddress = HTTP,
) -> None:
    """Make a stream, or change what is kept of it."""
    asked = {"max_records": max_records, "max_bytes": max_bytes, "max_age": max_age}
    _print(_request(http, "PUT", f"/{name}", json={key: value for key, value in asked.items() if value is not None}))


@streams.command()
def end(name: NameArgument, http: HttpAddress = HTTP) -> None:
    """End a stream: it takes no more records, and its readers are told."""
    _request(http, "POST", f"/{name}/end")


@streams.command()
def purge(name: NameArgument, http: HttpAddress = HTTP) -> None:
    """Remove a stream's records."""
    _request(http, "POST", f"/{name}/purge")


@streams.command()
def delete(name: NameArgument, http: HttpAddress = HTTP) -> None:
    """Remove a stream and its records."""
    _request(http, "DELETE", f"/{name}")


def _request(http: str, method: str, path: str, **options: Any) -> Any:
    response = httpx.request(method, f"{url(http)}/v1/streams{path}", timeout=30.0, **options)
    document = response.json() if response.content else None
    if response.is_error:
        raise error_of_problem(response.status_code, document)
    return document


def _print(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2 if sys.stdout.isatty() else None))


def _table(found: list[dict[str, Any]]) -> None:
    table = Table("stream", "records", "bytes", "first", "last", "readers", "state", box=None, header_style="bold")
    for at in (1, 2, 3, 4, 5):
        table.columns[at].justify = "right"
    for one in found:
        table.add_row(
            one["name"],
            f"{one['records']:,}",
            decimal(one["bytes"]),
            str(one["first_offset"]),
            str(one["last_offset"]),
            str(one["readers"]),
            "ended" if one["ended"] else "open",
        )
    Console().print(table if found else "no streams")
