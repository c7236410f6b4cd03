"""`stoa data`: shows, moves and removes an installation's data, including its database, wherever that is stored."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from stoa.cli.asking import Json, Yes, fail, out
from stoa.cli.operating import Config, DataDir, settings

app = typer.Typer(no_args_is_help=True, help="Where your data is; move it, remove it.")


@app.command()
def path(
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say where files and database are, and which databases removed installations have left on this machine."""
    from stoa.db.embedded import EmbeddedError, leftovers, locate  # noqa: PLC0415 — the database's weight is loaded by the command that needs it

    chosen = settings(config, data_dir=data_dir)
    try:
        found = locate(chosen.data_dir)
    except EmbeddedError as error:
        raise fail(error.message) from error
    external = chosen.database_url is not None
    left = leftovers()
    if as_json:
        shown = {
            "files": str(found.directory),
            "database": None if external or found.database is None else str(found.database),
            "leftovers": [{"path": str(one.path), "owner": str(one.owner) if one.owner else None} for one in left],
        }
        sys.stdout.write(json.dumps(shown, indent=1) + "\n")
        return
    out.print(f"files     {found.directory}", markup=False)
    database = "the PostgreSQL of STOA_DATABASE_URL" if external else found.database or "none yet"
    out.print(f"database  {database}", markup=False)
    for one in left:
        out.print(f"leftover  {one.path} ({_history(one.owner)}): stoa data remove --leftover {one.path}", markup=False)


@app.command("move")
def move_command(
    target: Annotated[Path, typer.Argument(help="The new data directory; it must not exist yet, or be empty.")],
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Move files and database to another directory, of any file system. Stop the server first."""
    from stoa.db.embedded import EmbeddedError, move  # noqa: PLC0415 — the database's weight is loaded by the command that needs it

    chosen = settings(config, data_dir=data_dir)
    try:
        found = asyncio.run(move(chosen.data_dir, target))
    except EmbeddedError as error:
        raise fail(error.message) from error
    out.print(
        f"Your data is in {found.directory} now. Start with: stoa serve --data-dir {found.directory}", markup=False
    )
    if found.elsewhere:
        out.print(f"The database stays in {found.database}: its account cannot enter {found.directory}.", markup=False)


@app.command("remove")
def remove_command(
    data_dir: DataDir = None,
    config: Config = None,
    leftover: Annotated[
        Path | None,
        typer.Option(help="Remove this database of a removed installation instead; `stoa data path` lists them."),
    ] = None,
    yes: Yes = False,
) -> None:
    """Remove files and database for good, the database also where it lies outside of the data directory. Stop the
    server first."""
    from stoa.db.embedded import EmbeddedError, remove, remove_leftover  # noqa: PLC0415 — the database's weight is loaded by the command that needs it

    chosen = settings(config, data_dir=data_dir)
    try:
        if leftover is not None:
            _confirm(leftover, yes=yes)
            asyncio.run(remove_leftover(leftover))
            out.print(f"Removed {leftover}.", markup=False)
            return
        directory = chosen.data_dir.resolve()
        if not directory.is_dir():
            raise fail(f"There is no data in {directory}.")
        _confirm(directory, yes=yes)
        left = asyncio.run(remove(directory))
    except EmbeddedError as error:
        raise fail(error.message) from error
    out.print(f"Removed the data in {directory}.", markup=False)
    if chosen.database_url is not None:
        out.print("The PostgreSQL of STOA_DATABASE_URL was left as it is.")
    for one in left:
        out.print(f"Left in place, since Stoa did not make it: {one}", markup=False)


def _history(owner: Path | None) -> str:
    if owner is not None:
        return f"of {owner}, which is gone or has another database now"
    return "of an earlier version; a start of its installation, if there is one, takes it off this list"


def _confirm(directory: Path, *, yes: bool) -> None:
    """Asks for the directory's name, so that nobody removes the wrong directory."""
    if yes:
        return
    # Without a terminal the prompt fails at once, and nothing is removed.
    typed = typer.prompt(
        f"This removes {directory} for good. Type its name ({directory.name}) to go on", default="", show_default=False
    )
    if typed != directory.name:
        raise fail("Nothing was removed.")
