"""Code of all commands that call a running server: options, consoles, calls, and exit codes."""

import json
import sys
import uuid
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn

from stoa.cli import credentials
from stoa.cli.client import POLICY, request
from stoa.cli.stream.errors import APIError, ConnectionFailed, StoaError, UnauthorizedError
from stoa.cli.stream.transport import Call, Transport
from stoa.cli.text import plain


class Terminal(Console):
    """A console on which text from a server cannot move the cursor, ring the bell or change colours."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(plain(one) if isinstance(one, str) else one for one in objects), **options)

    def on_broken_pipe(self) -> NoReturn:
        """The reader of the pipe has closed it, as `head` does: ends the command quietly."""
        leave_pipe()


class Exit(IntEnum):
    """Exit codes of commands. `docs/guide/command-line.md` documents them."""

    DONE = 0
    FAILED = 1
    USED_WRONGLY = 2
    NO_SERVER = 3
    NOT_SIGNED_IN = 4
    DIFFERS = 5
    WAITS = 6
    INTERRUPTED = 130
    BROKEN_PIPE = 141


out = Terminal(highlight=False, soft_wrap=True)
errors = Terminal(stderr=True, highlight=False, soft_wrap=True)

Url = Annotated[
    str | None,
    typer.Option(
        envvar="STOA_URL",
        help="The server to speak to. \\[default: that of stoa login, else http://localhost:8080]",
        show_default=False,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(envvar="STOA_KEY", help="The key to speak with. \\[default: that of stoa login]", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print the API's answer as JSON.")]
Limit = Annotated[int, typer.Option(min=1, help="How many to show, the newest first.")]
All = Annotated[bool, typer.Option("--all", help="Show all of them.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Base = Annotated[str, typer.Argument(help="The knowledge base: its id, or its name where only one has it.")]
HERE: Final = None
"""The default of `url`: the server of `stoa login`, else this machine."""
PAGE_SIZE_MAX: Final = 500


def server(url: str | None, key: str | None) -> Transport:
    """The server to call. Ends the command if there is no key or the URL is invalid."""
    try:
        chosen, found = credentials.resolved(url, key)
    except credentials.CredentialsError as error:
        raise fail(str(error), Exit.USED_WRONGLY) from error
    if not found:
        raise fail(
            f"There is no key for {chosen}. Set STOA_KEY to an access key, pass --key, or sign in with: stoa login",
            Exit.NOT_SIGNED_IN,
        )
    return Transport(chosen, found, POLICY)


def ask(
    method: str, url: str | None, key: str | None, path: str, body: object | None = None, *, once: str | None = None
) -> Any:
    """One call. Ends the command if it is refused. After a broken connection a POST is repeated only if `once` is set,
    its Idempotency-Key."""
    headers = {"Idempotency-Key": once} if once else None
    try:
        return server(url, key).json(request(method, path, body, headers))
    except StoaError as error:
        raise refused(error) from error


def create(url: str | None, key: str | None, path: str, body: object) -> Any:
    """A POST that creates an object, only once even if the connection breaks. Returns the object."""
    return ask("POST", url, key, path, body, once=str(uuid.uuid4()))["data"]


def ask_all(url: str | None, key: str | None, path: str, limit: int | None = None) -> list[Any]:
    """The objects of all pages of a list, or the first `limit`."""
    found: list[Any] = []
    page, pages, cursor = 1, 1, None
    size = min(limit or PAGE_SIZE_MAX, PAGE_SIZE_MAX)
    while (cursor or page <= pages) and (limit is None or len(found) < limit):
        at = f"cursor={cursor}" if cursor else f"page={page}"
        answer = ask("GET", url, key, f"{path}{'&' if '?' in path else '?'}{at}&page_size={size}")
        found += answer["data"]
        before, cursor = cursor, answer["pagination"].get("next_cursor")
        page, pages = page + 1, 0 if before and not cursor else answer["pagination"]["page_count"]
    return found[:limit]


def base_id_of(url: str | None, key: str | None, base: str) -> str:
    return id_of(base, "knowledge base", lambda: ask_all(url, key, "/v1/knowledgebases"))


def source_id_of(url: str | None, key: str | None, base: str, source: str) -> str:
    return id_of(
        source, "source", lambda: ask_all(url, key, f"/v1/knowledgebases/{base_id_of(url, key, base)}/sources")
    )


def id_of(name: str, kind: str, listed: Callable[[], list[Any]], field: str = "name") -> str:
    """Returns an id unchanged, or looks up the id of the only object with this name."""
    try:
        return str(uuid.UUID(name))
    except ValueError:
        pass
    named = [one["id"] for one in listed() if one.get(field) == name]
    if len(named) != 1:
        raise fail(
            f"There is no {kind} named {name}." if not named else f"{len(named)} {kind}s are named {name}; give the id."
        )
    return str(named[0])


def confirm(question: str, *, yes: bool) -> None:
    if not yes:
        typer.confirm(question, abort=True, err=True)


def deleted(url: str | None, key: str | None, path: str) -> None:
    """Deletes the object and prints the receipt."""
    gone = ask("DELETE", url, key, path)
    if "deletion_id" not in gone:
        out.print("deleted", markup=False)
        return
    print_json(ask("GET", url, key, f"/v1/deletions/{gone['deletion_id']}")["data"])


def print_json(data: Any) -> None:
    """Prints the response for programs. JSON escapes control characters."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=not _speaks_unicode()) + "\n")
    sys.stdout.flush()


def print_made(made: Any, *, as_json: bool) -> None:
    """Prints a created object: with `as_json` all of it, else its id, for people and `$(…)`."""
    if as_json:
        print_json(made)
    else:
        out.print(made["id"], markup=False)


def download(url: str | None, key: str | None, path: str) -> bytes:
    """The body of the response."""
    try:
        return server(url, key).body(Call("GET", path))
    except StoaError as error:
        raise refused(error) from error


def bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise fail(f"{error.strerror}: {file}", Exit.USED_WRONGLY) from error


def text_of(file: Path) -> str:
    """The text of a UTF-8 file; - is the standard input."""
    try:
        return sys.stdin.read() if str(file) == "-" else bytes_of(file).decode("utf-8")
    except UnicodeDecodeError as error:
        raise fail(f"{file} is no UTF-8 text.", Exit.USED_WRONGLY) from error


def _speaks_unicode() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"


def bar() -> Progress:
    """A progress bar that is removed when it is done. Without a terminal it prints nothing. Descriptions are never
    parsed as markup."""
    description, *others = Progress.get_default_columns()
    assert isinstance(description, TextColumn)
    description.markup = False
    return Progress(description, *others, console=errors, transient=True, disable=not errors.is_terminal)


def refused(error: StoaError) -> typer.Exit:
    if isinstance(error, ConnectionFailed):
        return fail(error.message, Exit.NO_SERVER)
    if isinstance(error, UnauthorizedError):
        return fail(f"{error.message} Sign in with: stoa login", Exit.NOT_SIGNED_IN)
    request_id = f" (request {error.request_id})" if isinstance(error, APIError) and error.status >= 500 else ""
    return fail(error.message + request_id)


def fail(message: str, code: Exit = Exit.FAILED) -> typer.Exit:
    errors.print(f"stoa: {message}", style="red", markup=False)
    return typer.Exit(int(code))


def leave_pipe(code: Exit = Exit.BROKEN_PIPE) -> NoReturn:
    """Ends the command and discards buffered output, about which the interpreter would report an error at exit."""
    import os  # noqa: PLC0415 — for this end alone

    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())
    raise SystemExit(int(code))
