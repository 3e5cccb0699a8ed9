"""`ratsvc migrate`: code written for rat_engine's streaming, renamed for ratsvc."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from typing import Annotated

import typer

from ratsvc.errors import InvalidArgument


def migrate(
    path: Annotated[Path, typer.Argument(exists=True, help="A Python file, or a folder of them.")],
    write: Annotated[bool, typer.Option("--write", help="Change the files, not only show what would.")] = False,
) -> None:
    """Rename the calls of rat_engine's streaming in your code to those of ratsvc; shows the diff, and changes nothing
    without [bold]--write[/bold].

    What needs a person is said with its line; everything left as it was still works, with a DeprecationWarning.
    """
    import libcst  # slow to import, and only needed here

    from ratsvc.cli.rewriting import rewrite

    changed = looked_at = 0
    failed: list[Path] = []
    for file in _files(path):
        looked_at += 1
        try:
            found = rewrite(file.read_bytes())
        except (libcst.ParserSyntaxError, UnicodeDecodeError, OSError) as error:
            typer.echo(f"{file}: cannot be read: {str(error).splitlines()[0]}", err=True)
            failed.append(file)
            continue
        for line, note in found.notes:
            typer.echo(f"{file}:{line}: {note}", err=True)
        if found.after != found.before:
            changed += 1
            typer.echo(_diff(file, found.before, found.after), nl=False)
            if write:
                file.write_bytes(found.after)
    did = "changed" if write else "would change"
    typer.echo(f"{looked_at} files looked at, {changed} {did}", err=True)
    if failed:
        raise InvalidArgument(f"{len(failed)} files could not be read", field="path")


def _files(path: Path) -> Iterator[Path]:
    """The file, or those under a folder, but for hidden folders and installed packages."""
    if path.is_file():
        yield path
        return
    for file in sorted(path.rglob("*.py")):
        folders = file.relative_to(path).parts[:-1]
        if not any(name.startswith(".") or name in ("site-packages", "node_modules") for name in folders):
            yield file


def _diff(file: Path, before: bytes, after: bytes) -> str:
    old, new = (data.decode("utf-8", "replace").splitlines(keepends=True) for data in (before, after))
    name = str(file).lstrip("/")
    lines = unified_diff(old, new, f"a/{name}", f"b/{name}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
