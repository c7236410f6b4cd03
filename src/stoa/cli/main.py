"""The command line: parses arguments, and starts the server or calls its public API."""

import contextlib
import errno
import gc
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from stoa import __version__
from stoa.cli import (
    apps,
    artifacts,
    audit,
    backup,
    blobs,
    chat,
    conversations,
    data,
    kb,
    keys,
    login,
    memory,
    migrate,
    models,
    question,
    runs,
    skills,
    tools,
    traces,
    transfer,
    triggers,
    usage,
    users,
)
from stoa.cli.apply import command as apply
from stoa.cli.asking import Exit, Json, Key, errors, fail, leave_pipe, out, print_json, refused, server
from stoa.cli.operating import Config, DataDir, settings
from stoa.cli.stream.errors import StoaError

if TYPE_CHECKING:
    from stoa.settings import Settings

app = typer.Typer(
    name="stoa",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""The disk of the standard output or of a user's file is full."""
TALK, MANAGE, OPERATE = "Talk", "Manage a server (over its public API)", "Run a server"
for name, command in (("chat", chat.chat), ("ask", question.ask_once)):
    app.command(name, rich_help_panel=TALK)(command)
app.command("login", rich_help_panel=TALK)(login.login)
app.command("logout", rich_help_panel=TALK)(login.logout)
for name, group in (
    ("conversations", conversations.app),
    ("runs", runs.app),
    ("kb", kb.app),
    ("tools", tools.app),
    ("apps", apps.app),
    ("triggers", triggers.app),
    ("memory", memory.app),
    ("memory-stores", memory.stores),
    ("skills", skills.app),
    ("artifacts", artifacts.app),
    ("models", models.app),
    ("traces", traces.app),
    ("keys", keys.app),
    ("users", users.app),
    ("imports", transfer.app),
):
    app.add_typer(group, name=name, rich_help_panel=MANAGE)
app.command("usage", rich_help_panel=MANAGE)(usage.usage)
app.command("apply", rich_help_panel=MANAGE)(apply.apply)
app.command("export", rich_help_panel=MANAGE)(transfer.export_project)
app.command("import", rich_help_panel=MANAGE)(transfer.import_project)
app.command("backup", rich_help_panel=OPERATE)(backup.backup)
app.command("restore", rich_help_panel=OPERATE)(backup.restore)
app.command("migrate", rich_help_panel=OPERATE)(migrate.migrate)
app.add_typer(data.app, name="data", rich_help_panel=OPERATE)
app.add_typer(blobs.app, name="blobs", rich_help_panel=OPERATE)
app.add_typer(audit.app, name="audit", rich_help_panel=OPERATE)


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def stoa(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """A self-hosted server for conversations with AI agents that never loses a token.

    [dim]Begin:[/] stoa serve, then in another terminal: stoa login, stoa chat
    """


@app.command(rich_help_panel=OPERATE)
def serve(
    port: Annotated[int | None, typer.Option(help="0 takes a free one. \\[default: 8080]", show_default=False)] = None,
    host: Annotated[
        str | None,
        typer.Option(help="0.0.0.0 to be reached from elsewhere. \\[default: 127.0.0.1]", show_default=False),
    ] = None,
    data_dir: DataDir = None,
    domain: Annotated[
        str | None,
        typer.Option(help="Of the hosts of apps and knowledge bases. \\[default: localhost]", show_default=False),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            help="Processes behind the one port; auto: one for each processor. \\[default: 1]", show_default=False
        ),
    ] = None,
    config: Config = None,
) -> None:
    """Start the server: API, workers and an embedded PostgreSQL, in one process, or in several with --workers.

    Models are found by themselves: set OPENAI_API_KEY, ANTHROPIC_API_KEY or OLLAMA_HOST, or run Ollama on this machine.
    Without any, the built-in model stoa-extractive answers by quoting your documents. STOA_DATABASE_URL uses a
    PostgreSQL (16 or newer, with pgvector) of yours.
    """
    gc.disable()  # Until the server has started: all objects of the start stay, so collecting is lost time.
    chosen = settings(config, host=host, port=port, data_dir=data_dir, domain=domain, workers=workers)
    from stoa.cli.listening import StartError  # noqa: PLC0415 — the server's weight is loaded by the command that needs it
    from stoa.cli.workers.cores import workers_of  # noqa: PLC0415
    from stoa.db.embedded import EmbeddedError  # noqa: PLC0415
    from stoa.db.migrate import SchemaError  # noqa: PLC0415
    from stoa.settings import SettingsError  # noqa: PLC0415

    def tell(line: str) -> None:
        out.print(line, markup=False)

    try:
        if (count := workers_of(chosen)) == 1:
            _serve_here(chosen, tell)
        else:
            from stoa.cli.workers.parent import run  # noqa: PLC0415

            run(chosen, count, tell)
    except (StartError, EmbeddedError, SchemaError, SettingsError) as error:
        raise fail(str(error)) from error
    except OSError as error:
        raise fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}") from error


def _serve_here(chosen: "Settings", tell: Callable[[str], None]) -> None:
    """Runs the whole server in this process."""
    from stoa.access import BootstrapError  # noqa: PLC0415 — as above
    from stoa.cli.listening import StartError  # noqa: PLC0415
    from stoa.cli.serve import run  # noqa: PLC0415
    from stoa.gateway import UnknownDefault  # noqa: PLC0415

    try:
        run(chosen, tell)
    except (BootstrapError, UnknownDefault) as error:
        raise StartError(str(error)) from error


@app.command(rich_help_panel=OPERATE)
def demo(
    data_dir: DataDir = None,
    keep: Annotated[bool, typer.Option(help="Leave the demo's data directory in place.")] = False,
) -> None:
    """Run the main job, and show every HTTP call it makes: a document, a question, a stream that breaks and resumes, a
    deletion with its receipt."""
    from stoa.cli.demo import DemoError, run  # noqa: PLC0415

    try:
        run(data_dir, keep=keep, out=out)
    except DemoError as error:
        raise fail(str(error)) from error


@app.command(rich_help_panel=OPERATE)
def doctor(
    repair: Annotated[
        bool, typer.Option(help="Put right what can safely be put right, and say what was done.")
    ] = False,
    since: Annotated[
        datetime | None,
        typer.Option(help="Only what was made since then (UTC).", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Look again also at the days that an earlier call has found whole.")
    ] = False,
    seconds: Annotated[float, typer.Option(help="For each check, at most.", min=1)] = 300,
    as_json: Json = False,
    url: Annotated[
        str | None,
        typer.Option(
            help="Ask a server, with STOA_KEY, about one organization, instead of the database.", show_default=False
        ),
    ] = None,
    key: Key = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Count broken promises: zeros, unless something is wrong; then the exit code is 1.

    Looks at the database and the files themselves, beside servers that run on them or without one, and at all
    organizations. A day that was found whole and in which nothing can change any more is not looked at again, unless
    with --full; what did not end in its time goes on at the next call.
    """
    from stoa.cli.doctor import NoDatabase, run  # noqa: PLC0415 — the server's weight is loaded by the command that needs it
    from stoa.cli.doctor import ask as ask_doctor  # noqa: PLC0415
    from stoa.db.embedded import EmbeddedError  # noqa: PLC0415
    from stoa.db.migrate import SchemaError  # noqa: PLC0415

    moment = since.replace(tzinfo=UTC) if since else None
    if url is not None and repair:
        raise fail("A repair is made beside the database: leave out --url.")
    try:
        if url is not None:
            healthy = ask_doctor(server(url, key), moment, as_json=as_json, out=out)
        else:
            healthy = run(
                settings(config, data_dir=data_dir),
                since=moment,
                repair=repair,
                full=full,
                seconds_max=seconds,
                as_json=as_json,
                out=out,
                errors=errors,
            )
    except StoaError as error:
        raise refused(error) from error
    except (EmbeddedError, NoDatabase, SchemaError) as error:
        raise fail(str(error)) from error
    except OSError as error:
        raise fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}") from error
    if not healthy:
        raise typer.Exit(1)


@app.command(rich_help_panel=OPERATE)
def scrub(data_dir: DataDir = None, config: Config = None) -> None:
    """Rewrite the database's files, so that no byte of what was deleted is left in them.

    Beside a running server each table is locked while it is rewritten, so choose a quiet hour. Needs as much free room
    as the largest table.
    """
    from stoa.cli.scrub import run  # noqa: PLC0415
    from stoa.db.embedded import EmbeddedError  # noqa: PLC0415
    from stoa.db.scrub import ScrubError  # noqa: PLC0415

    try:
        left = run(settings(config, data_dir=data_dir), lambda line: out.print(line, markup=False))
    except (EmbeddedError, ScrubError) as error:
        raise fail(str(error)) from error
    if left:
        raise fail(" ".join(left))


@app.command(rich_help_panel=OPERATE)
def version(as_json: Json = False) -> None:
    """Print the version."""
    if as_json:
        print_json({"version": __version__, "python": platform.python_version(), "platform": platform.platform()})
    else:
        out.print(__version__)


def main() -> None:
    """The entry point. Characters that the terminal cannot encode become question marks instead of errors."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # Closed, or replaced by the caller.
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(int(Exit.INTERRUPTED))
    except OSError as error:
        if error.errno == errno.EPIPE:
            leave_pipe()
        if error.errno not in CANNOT_WRITE:
            raise
        fail(f"Nothing more can be written{f' to {error.filename}' if error.filename else ''}: {error.strerror}.")
        leave_pipe(Exit.FAILED)
