"""The command line: arguments in, the server or a client of its public API out."""

import gc
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from stoa import __version__
from stoa.cli import audit, data, kb, users
from stoa.cli.asking import HERE, Key, Url, ask, ask_all, errors, fail, out, print_table
from stoa.settings import Settings, SettingsError, load

app = typer.Typer(
    name="stoa",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
keys = typer.Typer(no_args_is_help=True, help="Access keys of a running server (needs STOA_KEY, or --key).")
app.add_typer(keys, name="keys")
app.add_typer(kb.app, name="kb")
app.add_typer(data.app, name="data")
app.add_typer(users.app, name="users")
app.add_typer(audit.app, name="audit")


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
    """A self-hosted server for conversations with AI agents that never loses a token."""


DataDir = Annotated[
    Path | None, typer.Option(help="Where database and files are. \\[default: .stoa]", show_default=False)
]
Config = Annotated[
    Path | None, typer.Option(help="Settings and providers. \\[default: ./stoa.toml, if there]", show_default=False)
]


def settings(config: Path | None, **flags: Any) -> Settings:
    try:
        return load(os.environ, flags, config)
    except SettingsError as error:
        raise fail(str(error)) from error


@app.command()
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
    config: Config = None,
) -> None:
    """Start the server: API, workers and an embedded PostgreSQL, in one process.

    Models are found by themselves: set OPENAI_API_KEY, ANTHROPIC_API_KEY or OLLAMA_HOST, or run Ollama on this machine.
    Without any, the built-in model stoa-extractive answers by quoting your documents. STOA_DATABASE_URL uses a
    PostgreSQL (16 or newer, with pgvector) of yours.
    """
    gc.disable()  # Until the server stands: all that is made until then stays, so collecting is lost time.
    from stoa.access import BootstrapError  # noqa: PLC0415 — the server's weight is loaded by the command that needs it
    from stoa.cli.serve import StartError, run  # noqa: PLC0415
    from stoa.db.embedded import EmbeddedError  # noqa: PLC0415
    from stoa.db.migrate import SchemaError  # noqa: PLC0415
    from stoa.gateway import UnknownDefault  # noqa: PLC0415

    chosen = settings(config, host=host, port=port, data_dir=data_dir, domain=domain)
    try:
        run(chosen, lambda line: out.print(line, markup=False))
    except (StartError, EmbeddedError, SchemaError, BootstrapError, UnknownDefault, SettingsError) as error:
        raise fail(str(error)) from error
    except OSError as error:
        raise fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}") from error


@app.command()
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


@app.command()
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
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
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
    from stoa.cli.client import ApiError  # noqa: PLC0415 — the server's weight is loaded by the command that needs it
    from stoa.cli.doctor import NoDatabase, run  # noqa: PLC0415
    from stoa.cli.doctor import ask as ask_doctor  # noqa: PLC0415
    from stoa.db.embedded import EmbeddedError  # noqa: PLC0415
    from stoa.db.migrate import SchemaError  # noqa: PLC0415

    moment = since.replace(tzinfo=UTC) if since else None
    if url is not None and repair:
        raise fail("A repair is made beside the database: leave out --url.")
    if url is not None and not key:
        raise fail("Set STOA_KEY to an organization-wide access key, or pass --key.")
    try:
        if url is not None:
            healthy = ask_doctor(url, key or "", moment, as_json=as_json, out=out)
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
    except (ApiError, EmbeddedError, NoDatabase, SchemaError) as error:
        raise fail(str(error)) from error
    except OSError as error:
        raise fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}") from error
    if not healthy:
        raise typer.Exit(1)


@app.command()
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


@keys.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    project: Annotated[str | None, typer.Option(help="A project's id: the key sees nothing else.")] = None,
    permission: Annotated[
        list[str] | None, typer.Option(help="Repeat it; without any, all that the key's scope allows.")
    ] = None,
    expires_at: Annotated[str | None, typer.Option(help="As 2027-01-31T00:00:00Z.")] = None,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Make a key and print its secret, this once."""
    wanted = {"name": name, "project_id": project, "permissions": permission, "expires_at": expires_at}
    body = {field: value for field, value in wanted.items() if value}
    out.print(ask("POST", url, key, "/v1/access-keys", body)["data"]["key"], markup=False)


@keys.command("list")
def keys_list(url: Url = HERE, key: Key = None) -> None:
    """List the keys of your scope."""
    rows = (
        (
            item["id"],
            item["name"],
            item["preview"],
            item.get("project_id", "all"),
            item.get("expires_at", "never"),
            item["created_at"],
        )
        for item in ask_all(url, key, "/v1/access-keys")
    )
    print_table(("id", "name", "preview", "project", "expires", "created"), rows)


@keys.command("revoke")
def keys_revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, from `stoa keys list`.")],
    url: Url = HERE,
    key: Key = None,
    cascade: Annotated[bool, typer.Option("--cascade", help="Also every key that it made.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Revoke nothing; show what would be revoked.")] = False,
) -> None:
    """Revoke a key, at once and on every node."""
    query = f"?cascade={str(cascade).lower()}&dry_run={str(dry_run).lower()}"
    answer = ask("DELETE", url, key, f"/v1/access-keys/{key_id}{query}")
    for one in answer.get("would_revoke") or answer["revoked"]:
        out.print(f"{'would be revoked' if dry_run else 'revoked'}: {one['name']} {one['preview']}", markup=False)


@keys.command("generate")
def keys_generate() -> None:
    """Print a new random key for STOA_BOOTSTRAP_KEY, without asking any server."""
    from stoa.access.rules import new_secret  # noqa: PLC0415

    out.print(new_secret(), markup=False)


@app.command()
def version() -> None:
    """Print the version."""
    out.print(__version__)


def main() -> None:
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
