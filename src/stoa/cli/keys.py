"""`stoa keys`: access keys of a running server."""

from typing import Annotated

import typer

from stoa.cli.asking import HERE, Json, Key, Url, ask, ask_all, create, out, print_json
from stoa.cli.tables import Columns, show_list

app = typer.Typer(no_args_is_help=True, help="Access keys of a running server.")


@app.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    project: Annotated[str | None, typer.Option(help="A project's id: the key sees nothing else.")] = None,
    permission: Annotated[
        list[str] | None, typer.Option(help="Repeat it; without any, all that the key's scope allows.")
    ] = None,
    expires_at: Annotated[str | None, typer.Option(help="As 2027-01-31T00:00:00Z.")] = None,
    resumable_streams: Annotated[
        bool, typer.Option("--resumable-streams", help="Its streamed chat completions can be resumed.")
    ] = False,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Make a key and print its secret, this once.

    [dim]Example:[/] stoa keys create ci --permission runs:read --expires-at 2027-01-31T00:00:00Z
    """
    wanted = {
        "name": name,
        "project_id": project,
        "permissions": permission,
        "expires_at": expires_at,
        "resumable_streams": resumable_streams,
    }
    made = create(url, key, "/v1/access-keys", {field: value for field, value in wanted.items() if value})
    if as_json:
        print_json(made)
    else:
        out.print(made["key"], markup=False)


@app.command("list")
def keys_list(as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """List the keys of your scope."""
    columns: Columns = {
        "id": "id",
        "name": "name",
        "preview": "preview",
        "project": lambda one: one.get("project_id", "all"),
        "expires": lambda one: one.get("expires_at", "never"),
        "created": "created_at",
    }
    show_list(ask_all(url, key, "/v1/access-keys"), columns, as_json=as_json, nothing="There are no keys.")


@app.command("revoke")
def keys_revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, from `stoa keys list`.")],
    url: Url = HERE,
    key: Key = None,
    cascade: Annotated[bool, typer.Option("--cascade", help="Also every key that it made.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Revoke nothing; show what would be revoked.")] = False,
    as_json: Json = False,
) -> None:
    """Revoke a key, at once and on every node."""
    query = f"?cascade={str(cascade).lower()}&dry_run={str(dry_run).lower()}"
    answer = ask("DELETE", url, key, f"/v1/access-keys/{key_id}{query}")
    if as_json:
        print_json(answer)
        return
    for one in answer.get("would_revoke") or answer["revoked"]:
        out.print(f"{'would be revoked' if dry_run else 'revoked'}: {one['name']} {one['preview']}", markup=False)


@app.command("generate")
def keys_generate() -> None:
    """Print a new random key for STOA_BOOTSTRAP_KEY, without asking any server."""
    from stoa.access.rules import new_secret  # noqa: PLC0415 — no other command needs it

    out.print(new_secret(), markup=False)
