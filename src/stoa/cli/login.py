"""`stoa login`: stores a key in a file that only its owner can read, so that commands need no options."""

import sys
from typing import Annotated

import typer

from stoa.cli import credentials
from stoa.cli.asking import HERE, Exit, Url, fail, out, refused
from stoa.cli.client import POLICY, request
from stoa.cli.stream.errors import ForbiddenError, StoaError
from stoa.cli.stream.transport import Transport


def login(
    url: Url = HERE,
    key_stdin: Annotated[
        bool, typer.Option("--key-stdin", help="Read the key from the standard input instead of asking for it.")
    ] = False,
) -> None:
    """Keep an access key or a personal access token for a server, after it was tried.

    It is written to ~/.config/stoa/credentials.json (0600; STOA_CREDENTIALS names another file). STOA_URL and STOA_KEY
    come first. The server that was signed in to last is the one that commands speak to.

    [dim]Examples:[/]

        stoa login --url https://stoa.example.com
        printf %s "$KEY" | stoa login --url http://localhost:8080 --key-stdin
    """
    try:
        chosen = credentials.checked_url(url or credentials.HERE)
        key = credentials.checked_key(_key(from_input=key_stdin))
        if not key:
            raise fail("No key was given.", Exit.USED_WRONGLY)
        who = _who(chosen, key)
        kept = credentials.load()
        kept.current = chosen
        kept.keys[chosen] = key
        credentials.save(kept)
    except credentials.CredentialsError as error:
        raise fail(str(error), Exit.USED_WRONGLY) from error
    out.print(f"Signed in to {chosen} {who}. The key is kept in {credentials.file()}", markup=False)


def logout(
    url: Url = HERE,
    everywhere: Annotated[bool, typer.Option("--all", help="Forget the keys of all servers.")] = False,
) -> None:
    """Forget the key of a server. The key itself goes on: `stoa keys revoke` ends it."""
    try:
        kept = credentials.load()
        chosen = credentials.checked_url(url or kept.current or credentials.HERE)
        if not everywhere and chosen not in kept.keys:
            raise fail(f"No key of {chosen} is kept.")
        left = {} if everywhere else {one: key for one, key in kept.keys.items() if one != chosen}
        current = kept.current if kept.current in left else next(iter(left), None)
        credentials.save(credentials.Credentials(current, left))
    except credentials.CredentialsError as error:
        raise fail(str(error), Exit.USED_WRONGLY) from error
    out.print("Signed out everywhere." if everywhere else f"Signed out of {chosen}.", markup=False)


def _key(*, from_input: bool) -> str:
    if from_input:
        return sys.stdin.readline()
    return str(typer.prompt("Access key", hide_input=True, err=True))


def _who(url: str, key: str) -> str:
    """The identity of the key. Ends the command if the server refuses it."""
    try:
        user = Transport(url, key, POLICY).json(request("GET", "/v1/me"))["data"]
    except ForbiddenError:
        return "with an access key"  # A valid key that belongs to no user.
    except StoaError as error:
        raise refused(error) from error
    except (KeyError, TypeError) as error:
        raise fail(f"{url} does not answer as Stoa does.") from error
    return f"as {user['email']}"
