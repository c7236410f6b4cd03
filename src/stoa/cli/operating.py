"""Options and settings of the commands that access the database directly."""

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
    """The settings. Ends the command if they are invalid."""
    from stoa.settings import SettingsError, load  # noqa: PLC0415 — a client of a server needs none of it

    try:
        return load(os.environ, flags, config)
    except SettingsError as error:
        raise fail(str(error), Exit.FAILED) from error
