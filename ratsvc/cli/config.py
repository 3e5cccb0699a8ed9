"""`ratsvc config`: what the settings are, and whether a file of them is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

from ratsvc.cli.serve import ConfigOption, SetOption, flag_settings
from ratsvc.settings import load

HIDDEN = str(SecretStr("x"))
"""What a secret setting is dumped as."""

config = typer.Typer(no_args_is_help=True, help="Show the settings, or check a file of them.")


@config.command()
def show(
    file: ConfigOption = None,
    changes: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of TOML.")] = False,
) -> None:
    """Print every setting as it would be in force, as TOML."""
    tree = load(file, flag_settings(changes)).model_dump(mode="json")
    typer.echo(json.dumps(tree, indent=2) if as_json else _toml(tree))


@config.command()
def check(file: Annotated[Path, typer.Argument(help="A TOML file of settings.")]) -> None:
    """Check a file of settings; says what is wrong, and exits 2."""
    load(file)
    typer.echo(f"{file}: the settings are right")


def _toml(tree: dict[str, object], prefix: str = "") -> str:
    """Plain settings first, then a table for each group."""
    lines = [
        f"# {name} is not set"
        if value is None
        else f"# {name} is set, and not shown"
        if value == HIDDEN
        else f"{_key(name)} = {json.dumps(value)}"
        for name, value in tree.items()
        if not isinstance(value, dict)
    ]
    for name, group in tree.items():
        if isinstance(group, dict) and group:
            lines += ["", f"[{prefix}{_key(name)}]", _toml(group, f"{prefix}{_key(name)}.")]
    return "\n".join(lines)


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() else json.dumps(name)
