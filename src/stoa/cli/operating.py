"""What the commands that work beside the server's database share: where it is, and its settings."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stoa.cli.asking import Exit, fail

if TYPE_CHECKING:
    from stoa.settings import Settings

DataDir = Annotated[
    Path | None, typer.Option(help="Where database and files are. \\[default: .stoa]", show_default=False)
]
Config = Annotated[
    Path | None, typer.Option(help="Settings and providers. \\[default: ./stoa.toml, if there]", show_default=False)
]


def settings(config: Path | None, **flags: Any) -> "Settings":
    """Ends the command where they cannot be used."""
    from stoa.settings import SettingsError, load  # noqa: PLC0415 — a client of a server needs none of it

    try:
        return load(os.environ, flags, config)
    except SettingsError as error:
        raise fail(str(error), Exit.FAILED) from error
