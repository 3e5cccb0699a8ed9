"""`ratsvc`: puts the commands together, and turns errors into one line and an exit code.

Exit codes: 0 done, 1 refused, 2 wrong usage or settings, 3 the server cannot be reached.
"""

from __future__ import annotations

import sys
from typing import Annotated

import httpx
import typer

from ratsvc import __version__
from ratsvc.cli import UsageError
from ratsvc.cli.bench import bench
from ratsvc.cli.config import config
from ratsvc.cli.demo import demo
from ratsvc.cli.log import log
from ratsvc.cli.migrate import migrate
from ratsvc.cli.publish import publish
from ratsvc.cli.serve import serve
from ratsvc.cli.streams import streams
from ratsvc.cli.tail import tail
from ratsvc.errors import RatError, SettingsError, Unavailable

REFUSED, USAGE, UNREACHABLE = 1, 2, 3

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)
app.command()(serve)
app.command()(demo)
app.command()(publish)
app.command()(tail)
app.add_typer(streams, name="streams")
app.command()(bench)
app.add_typer(config, name="config")
app.command()(migrate)
app.add_typer(log, name="log")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ratsvc {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """A streaming gateway: services publish typed records over gRPC; browsers and HTTP clients read them as
    Server-Sent Events, JSON lines, chunked bytes or binary, and resume where they left.

    Begin with [bold]ratsvc demo[/bold], or [bold]ratsvc serve[/bold] and, in another terminal,
    [bold]ratsvc publish greetings hello --format text[/bold] and [bold]ratsvc tail greetings --from earliest[/bold].
    """


def main() -> None:
    """The console script."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left: nothing to say
        sys.exit(0)
    except RatError as error:
        typer.echo(f"ratsvc: {error.detail}", err=True)
        sys.exit(exit_code(error))
    except httpx.HTTPError as error:
        typer.echo(f"ratsvc: cannot reach the server: {error or type(error).__name__}", err=True)
        sys.exit(UNREACHABLE)


def exit_code(error: RatError) -> int:
    """The exit code that says `error`."""
    if isinstance(error, Unavailable):
        return UNREACHABLE
    return USAGE if isinstance(error, SettingsError | UsageError) else REFUSED
