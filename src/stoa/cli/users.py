"""`stoa users`: the first user, passwords and tokens, for the operator of the server's machine.

They access the database directly, like `stoa doctor`, because they must work when nobody can sign in: before the first
user exists, or after a password was lost.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar
from uuid import UUID

import typer

from stoa.cli.asking import HERE, Exit, Json, Key, Url, Yes, ask, ask_all, confirm, fail, id_of, out, print_json
from stoa.cli.asking import create as make
from stoa.cli.operating import Config, DataDir, settings
from stoa.cli.tables import Columns, show_list

if TYPE_CHECKING:
    from stoa.access import Tokens, Users

app = typer.Typer(
    no_args_is_help=True,
    help="""Users: list and invite over the API; the first one, passwords and tokens beside the database, which takes
    the server's machine.""",
)

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


Org = Annotated[
    str | None, typer.Option(help="The organization, by name or id. \\[default: the only one]", show_default=False)
]


@app.command("list")
def list_users(org: Org = None, as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """List the members of an organization, over the API."""
    columns: Columns = {
        "email": "email",
        "first name": "first_name",
        "last name": "last_name",
        "role": "role",
        "id": "user_id",
    }
    found = ask_all(url, key, f"/v1/orgs/{_org_id(url, key, org)}/members")
    show_list(found, columns, as_json=as_json, nothing="Nobody is a member. Invite somebody: stoa users invite")


@app.command("invite")
def invite(
    email: Email,
    role: Annotated[str, typer.Option(help="owner, admin or member.")] = "member",
    org: Org = None,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Invite somebody, over the API. Prints the invitation's token where no mail is sent."""
    made = make(url, key, f"/v1/orgs/{_org_id(url, key, org)}/invitations", {"email": email, "role": role})
    if as_json:
        print_json(made)
    else:
        out.print("A mail was sent." if made.get("mailed") else made.get("token", "invited"), markup=False)


@app.command("remove")
def remove(email: Email, org: Org = None, yes: Yes = False, url: Url = HERE, key: Key = None) -> None:
    """End somebody's membership, over the API."""
    org_id = _org_id(url, key, org)
    members = [one for one in ask_all(url, key, f"/v1/orgs/{org_id}/members") if one["email"] == email]
    if not members:
        raise fail(f"{email} is no member.")
    confirm(f"Remove {email} from the organization?", yes=yes)
    ask("DELETE", url, key, f"/v1/orgs/{org_id}/members/{members[0]['user_id']}")
    out.print("removed", markup=False)


def _org_id(url: str | None, key: str | None, org: str | None) -> str:
    found = ask_all(url, key, "/v1/orgs")
    if org is not None:
        return id_of(org, "organization", lambda: found)
    if len(found) != 1:
        names = ", ".join(one["name"] for one in found) or "none"
        raise fail(f"Name an organization with --org; these are there: {names}", Exit.USED_WRONGLY)
    return str(found[0]["id"])


class Accounts:
    def __init__(self, users: "Users", tokens: "Tokens") -> None:
        self.users = users
        self.tokens = tokens


def _password(*, from_input: bool) -> str:
    if from_input:
        return sys.stdin.readline().rstrip("\r\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


def _with_people(data_dir: Path | None, config: Path | None, do: Callable[[Accounts], Awaitable[T]]) -> T:
    from stoa.cli.doctor import NoDatabase, database_of  # noqa: PLC0415
    from stoa.db.embedded import EmbeddedError  # noqa: PLC0415
    from stoa.db.migrate import SchemaError  # noqa: PLC0415
    from stoa.kernel.errors import AppError  # noqa: PLC0415
    from stoa.kernel.telemetry import configure_logs  # noqa: PLC0415

    configure_logs("error", "console")
    chosen = settings(config, data_dir=data_dir)

    async def run() -> T:
        async with database_of(chosen) as dsn, _people(dsn) as people:
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
async def _people(dsn: str) -> AsyncGenerator[Accounts]:
    from stoa.access import Passwords, Tokens, Users  # noqa: PLC0415
    from stoa.db import Database  # noqa: PLC0415
    from stoa.db.migrate import migrate  # noqa: PLC0415
    from stoa.kernel.clock import SystemClock  # noqa: PLC0415
    from stoa.kernel.ids import RandomIds  # noqa: PLC0415

    await migrate(dsn)
    database = await Database.open(dsn, connections_max=2)
    try:
        ids, clock = RandomIds(), SystemClock()
        yield Accounts(Users(database, ids, clock, Passwords()), Tokens(database, ids, clock))
    finally:
        await database.close()
