"""`ratsvc serve`: runs the service until it is told to stop."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from ratsvc.errors import SettingsError
from ratsvc.observability import logs
from ratsvc.settings import load

HttpOption = Annotated[str | None, typer.Option("--http", help="Where HTTP listens, host:port.")]
GrpcOption = Annotated[str | None, typer.Option("--grpc", help="Where gRPC listens, host:port.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", envvar="RATSVC_CONFIG", help="A TOML file of settings.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any setting, as in `limits.value_bytes=2097152`. Repeatable."),
]


def serve(
    http: HttpOption = None,
    grpc: GrpcOption = None,
    config: ConfigOption = None,
    changes: SetOption = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep records on disk, in this directory; without it, in memory.")
    ] = None,
    durability: Annotated[
        str | None, typer.Option(help="With --data-dir: always (on disk before it is acknowledged) or interval.")
    ] = None,
    flush_interval: Annotated[
        float | None, typer.Option(help="With interval: seconds until what was acknowledged is on disk.")
    ] = None,
    stall_timeout: Annotated[
        float | None, typer.Option(help="A reader that takes nothing for so many seconds is cut.")
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="pretty or json.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Run the service. It keeps records in memory, or on disk with --data-dir, and stops cleanly on Ctrl-C or
    SIGTERM.

    Settings come from defaults, then the file, then the environment (RATSVC_…), then these flags;
    `ratsvc config show` prints all of them.
    """
    flags = flag_settings(
        changes,
        http=http,
        grpc=grpc,
        data_dir=data_dir,
        durability=durability,
        flush_interval_s=flush_interval,
        stall_timeout_s=stall_timeout,
        log_format=log_format,
        log_level=log_level,
    )
    settings = load(config, flags)
    logs.configure(settings.log_format, settings.log_level)
    from ratsvc.server.app import run  # the other commands need not wait for it

    raise typer.Exit(run(settings, announce))


def announce(http: str, grpc: str) -> None:
    """The one line that says that the service is ready."""
    typer.echo(f"ratsvc is ready: HTTP http://{http}  gRPC {grpc}")


def flag_settings(changes: list[str] | None, **flags: object) -> dict[str, object]:
    """Flags and `--set` as a tree of settings. Raises SettingsError."""
    tree: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    for change in changes or []:
        name, found, text = change.partition("=")
        if not found:
            raise SettingsError(f"--set takes NAME=VALUE, got {change!r}")
        *groups, last = name.split(".")
        place = tree
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = _value(text)
    return tree


def _value(text: str) -> object:
    """A value as TOML has it, or else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
