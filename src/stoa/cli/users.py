"""`stoa users`: the first user, passwords and tokens, for the operator of the server's machine.

They talk to the database, as `stoa doctor` does: the first user is made before anybody can sign in, and a lost password
is set when nobody can.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar
from uuid import UUID

import typer

from stoa.cli.asking import fail, out
from stoa.settings import SettingsError, load

if TYPE_CHECKING:
    from stoa.access import Tokens, Users

app = typer.Typer(no_args_is_help=True, help="Users: the first one, passwords, tokens. Beside the database.")

DataDir = Annotated[
    Path | None, typer.Option(help="Where database and files are. \\[default: .stoa]", show_default=False)
]
Config = Annotated[
    Path | None, typer.Option(help="Settings and providers. \\[default: ./stoa.toml, if there]", show_default=False)
]
Email = Annotated[str, typer.Argument(help="The user's e-mail address.")]
FromInput = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from the standard input instead of asking for it.")
]
T = TypeVar("T")


@app.command()
def create(
    email: Email,
    owner: Annotated[bool, typer.Option("--owner", help="An owner of the organization.")] = False,
    admin: Annotated[bool, typer.Option("--admin", help="An admin of the organization.")] = False,
    first_name: Annotated[str, typer.Option(help="The user's first name.")] = "",
    last_name: Annotated[str, typer.Option(help="The user's last name.")] = "",
    timezone: Annotated[str, typer.Option(help="As Europe/Vienna.")] = "UTC",
    org: Annotated[
        str | None, typer.Option(help="The organization, by name or id. \\[default: the first]", show_default=False)
    ] = None,
    new_org: Annotated[str | None, typer.Option(help="Make this organization.", show_default=False)] = None,
    password_stdin: FromInput = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Make a user; a member, unless --owner or --admin says otherwise."""
    from stoa.access import NewUser, OrgRole  # noqa: PLC0415 — the server's weight is loaded by the command that needs it

    role = OrgRole.OWNER if owner else OrgRole.ADMIN if admin else OrgRole.MEMBER
    password = _password(from_input=password_stdin)
    new = NewUser(email, first_name, last_name, timezone)
    user, org_id = _with_people(
        data_dir, config, lambda people: people.users.create(new, password, role, org=org, new_org=new_org)
    )
    out.print(f"{user.email} is {role.value} of the organization {org_id}.", markup=False)


@app.command()
def password(email: Email, password_stdin: FromInput = False, data_dir: DataDir = None, config: Config = None) -> None:
    """Set a user's password, and end the user's sessions. Personal access tokens go on."""
    chosen = _password(from_input=password_stdin)
    user = _with_people(data_dir, config, lambda people: people.users.set_password(email, chosen))
    out.print(f"{user.email} has a new password and is signed out everywhere.", markup=False)


@app.command()
def token(
    email: Email,
    name: Annotated[str, typer.Option(help="What the token is for.")] = "Made by the operator",
    org: Annotated[
        UUID | None,
        typer.Option(help="The organization it acts in. \\[default: the user's first]", show_default=False),
    ] = None,
    days: Annotated[int | None, typer.Option(help="Until it expires. \\[default: never]", min=1, max=3650)] = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Make a personal access token for a user and print it, this once."""
    end = datetime.now(UTC) + timedelta(days=days) if days else None
    secret = _with_people(data_dir, config, lambda people: people.tokens.issue(email, name, org, end))
    out.print(secret, markup=False)


class People:
    def __init__(self, users: "Users", tokens: "Tokens") -> None:
        self.users = users
        self.tokens = tokens


def _password(*, from_input: bool) -> str:
    if from_input:
        return sys.stdin.readline().rstrip("\r\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


def _with_people(data_dir: Path | None, config: Path | None, do: Callable[[People], Awaitable[T]]) -> T:
    from stoa.cli.doctor import NoDatabase, database_of  # noqa: PLC0415
    from stoa.db.embedded import EmbeddedError  # noqa: PLC0415
    from stoa.db.migrate import SchemaError  # noqa: PLC0415
    from stoa.kernel.errors import AppError  # noqa: PLC0415
    from stoa.kernel.telemetry import configure_logs  # noqa: PLC0415

    configure_logs("error", "console")
    try:
        settings = load(os.environ, {"data_dir": data_dir}, config)
    except SettingsError as error:
        raise fail(str(error)) from error

    async def run() -> T:
        async with database_of(settings) as dsn, _people(dsn) as people:
            return await do(people)

    try:
        return asyncio.run(run())
    except AppError as refusal:
        raise fail(refusal.message) from refusal
    except (EmbeddedError, NoDatabase, SchemaError) as error:
        raise fail(str(error)) from error
    except OSError as error:
        raise fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}") from error


@asynccontextmanager
async def _people(dsn: str) -> AsyncGenerator[People]:
    from stoa.access import Passwords, Tokens, Users  # noqa: PLC0415
    from stoa.db import Database  # noqa: PLC0415
    from stoa.db.migrate import migrate  # noqa: PLC0415
    from stoa.kernel.clock import SystemClock  # noqa: PLC0415
    from stoa.kernel.ids import RandomIds  # noqa: PLC0415

    await migrate(dsn)
    database = await Database.open(dsn, connections_max=2)
    try:
        ids, clock = RandomIds(), SystemClock()
        yield People(Users(database, ids, clock, Passwords()), Tokens(database, ids, clock))
    finally:
        await database.close()
