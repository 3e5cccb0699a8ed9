"""`ratsvc`: puts the commands together, and turns errors into one line and an exit code.

A command is a module of its own, which is imported when it is called (or listed): together they need most of what the
service is made of, and `ratsvc publish` should not wait for that.

Exit codes: 0 done, 1 refused, 2 wrong usage or settings, 3 the server cannot be reached.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ratsvc import __version__
from ratsvc.cli import UsageError
from ratsvc.errors import RatError, SettingsError, Unavailable

REFUSED, USAGE, UNREACHABLE = 1, 2, 3
COMMANDS = ("serve", "demo", "publish", "tail", "streams", "bench", "config", "migrate", "log")
"""Each is what has its name in the module of its name: a function, or an app of further commands."""


class _Commands(TyperGroup):
    """The commands, found by name."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name, or None."""
        if cmd_name not in COMMANDS:
            return None
        one = getattr(import_module(f"ratsvc.cli.{cmd_name}"), cmd_name)
        app = typer.Typer(rich_markup_mode="rich", add_completion=False)
        if isinstance(one, typer.Typer):
            app.add_typer(one, name=cmd_name)
            return typer.main.get_group(app).commands[cmd_name]
        app.command(cmd_name)(one)
        return typer.main.get_command(app)


app = typer.Typer(cls=_Commands, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)


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
    except Exception as error:
        import httpx  # here: most commands have no use for it, and would wait for it

        if not isinstance(error, httpx.HTTPError):
            raise
        typer.echo(f"ratsvc: cannot reach the server: {error or type(error).__name__}", err=True)
        sys.exit(UNREACHABLE)


def exit_code(error: RatError) -> int:
    """The exit code that says `error`."""
    if isinstance(error, Unavailable):
        return UNREACHABLE
    return USAGE if isinstance(error, SettingsError | UsageError) else REFUSED
