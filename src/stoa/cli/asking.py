"""What the commands that call a running server share: its URL and key, the console, the exit on a refusal."""

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from stoa.cli.client import ApiError, call

out = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

Url = Annotated[str, typer.Option(envvar="STOA_URL", help="The server to speak to.")]
Key = Annotated[str | None, typer.Option(envvar="STOA_KEY", help="The access key to speak with.", show_default=False)]
Base = Annotated[str, typer.Argument(help="The knowledge base: its id, or its name where only one has it.")]
HERE: Final = "http://localhost:8080"
_wide: Final = Console(highlight=False, soft_wrap=True, width=10_000)


def ask(method: str, url: str, key: str | None, path: str, body: dict[str, Any] | None = None) -> Any:
    try:
        return call(method, url, checked(key), path, body)
    except ApiError as error:
        raise fail(str(error)) from error


def ask_all(url: str, key: str | None, path: str) -> list[Any]:
    """Of a list, every page."""
    found: list[Any] = []
    page, pages = 1, 1
    while page <= pages:
        answer = ask("GET", url, key, f"{path}{'&' if '?' in path else '?'}page={page}&page_size=500")
        found += answer["data"]
        page, pages = page + 1, answer["pagination"]["page_count"]
    return found


def base_id_of(url: str, key: str | None, base: str) -> str:
    return _named(base, "knowledge base", lambda: ask_all(url, key, "/v1/knowledgebases"))


def source_id_of(url: str, key: str | None, base: str, source: str) -> str:
    return _named(
        source, "source", lambda: ask_all(url, key, f"/v1/knowledgebases/{base_id_of(url, key, base)}/sources")
    )


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table as wide as it needs to be: half of an id is none. Cells are text and never markup. Without titles the
    first column is the title."""
    table = Table(*titles, box=None, show_header=bool(titles))
    for row in rows:
        table.add_row(*(Text(cell, no_wrap=True) for cell in row))
    _wide.print(table, width=_wide.measure(table).maximum)


def _named(name: str, kind: str, listed: Callable[[], list[Any]]) -> str:
    try:
        return str(uuid.UUID(name))
    except ValueError:
        pass
    named = [one["id"] for one in listed() if one["name"] == name]
    if len(named) != 1:
        raise fail(
            f"There is no {kind} named {name}." if not named else f"{len(named)} {kind}s are named {name}; give the id."
        )
    return str(named[0])


def checked(key: str | None) -> str:
    if not key:
        raise fail("Set STOA_KEY to an access key, or pass --key.")
    return key


def bar() -> Progress:
    """On the terminal, and gone when it is done; silent where nobody watches. Descriptions are text and never
    markup."""
    said, *others = Progress.get_default_columns()
    assert isinstance(said, TextColumn)
    said.markup = False
    return Progress(said, *others, console=errors, transient=True, disable=not errors.is_terminal)


def fail(message: str) -> typer.Exit:
    errors.print(f"stoa: {message}", style="red", markup=False)
    return typer.Exit(1)
