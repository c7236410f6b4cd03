"""`stoa memory` and `stoa memory-stores`: what agents remember about users, over the server's public HTTP API."""

import sys
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from stoa.cli.asking import (
    HERE,
    All,
    Json,
    Key,
    Limit,
    Url,
    Yes,
    ask,
    ask_all,
    confirm,
    create,
    deleted,
    id_of,
    out,
    print_made,
)
from stoa.cli.tables import Columns, show_list, show_one
from stoa.cli.text import one_line

app = typer.Typer(no_args_is_help=True, help="Memories: what was said, by user and session.")
stores = typer.Typer(no_args_is_help=True, help="Memory stores: notes at paths, by user.")
Memory = Annotated[str, typer.Argument(help="The memory's id, or its name where only one has it.")]
Store = Annotated[str, typer.Argument(help="The store's id, or its name where only one has it.")]
User = Annotated[str, typer.Option(help="The end user, as the runs of apps name it.")]
Session = Annotated[str | None, typer.Option(help="Only of this session.")]
Path = Annotated[str, typer.Argument(help="Of the note, as in plans/2026.md.")]
Project = Annotated[str | None, typer.Option(help="A project's id. \\[default: the key's own]", show_default=False)]
_NAMED: Columns = {"id": "id", "name": "name", "created": "created_at", "updated": "updated_at"}


@app.command("list")
def list_memories(as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """List the memories."""
    show_list(ask_all(url, key, "/v1/memories"), _NAMED, as_json=as_json, nothing="There are no memories yet.")


@app.command("create")
def create_memory(
    name: Annotated[str, typer.Argument(help="What it is called.")],
    project: Project = None,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Make a memory, and print its id.

    [dim]Example:[/] stoa memory create support
    """
    print_made(
        create(url, key, "/v1/memories", {"name": name} | ({"project_id": project} if project else {})), as_json=as_json
    )


@app.command("show")
def show_memory(name: Memory, as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """Show a memory."""
    show_one(ask("GET", url, key, f"/v1/memories/{_memory(url, key, name)}")["data"], as_json=as_json)


@app.command("items")
def list_items(
    name: Memory,
    user: User,
    session: Session = None,
    limit: Limit = 25,
    everything: All = False,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """List what is remembered of a user.

    [dim]Example:[/] stoa memory items support --user u-1
    """
    columns: Columns = {
        "created": "created_at",
        "session": "session_id",
        "role": "data.role",
        "text": lambda one: one_line(_text(one["data"])),
        "run": "run_id",
    }
    path = f"/v1/memories/{_memory(url, key, name)}/items?{_scope(user, session)}"
    found = ask_all(url, key, path, None if everything else limit)
    show_list(found, columns, as_json=as_json, nothing="Nothing is remembered of this user.")


@app.command("add")
def add_item(
    name: Memory,
    text: Annotated[str, typer.Argument(help="What was said; - is the standard input.")],
    user: User,
    session: Session = None,
    role: Annotated[str, typer.Option(help="user or assistant.")] = "user",
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Remember something of a user, and print its id."""
    content = sys.stdin.read() if text == "-" else text
    body: dict[str, Any] = {"user_id": user, "data": {"role": role, "content": [{"type": "text", "text": content}]}}
    body |= {"session_id": session} if session else {}
    print_made(create(url, key, f"/v1/memories/{_memory(url, key, name)}/items", body), as_json=as_json)


@app.command("forget")
def forget(
    name: Memory, user: User, session: Session = None, yes: Yes = False, url: Url = HERE, key: Key = None
) -> None:
    """Delete what is remembered of a user, and print the receipt."""
    memory_id = _memory(url, key, name)
    confirm(f"Forget what {name} remembers of {user}?", yes=yes)
    deleted(url, key, f"/v1/memories/{memory_id}/items?{_scope(user, session)}")


@app.command("delete")
def delete_memory(name: Memory, yes: Yes = False, url: Url = HERE, key: Key = None) -> None:
    """Delete a memory, and print the receipt."""
    memory_id = _memory(url, key, name)
    confirm(f"Delete the memory {name} and all that it remembers?", yes=yes)
    deleted(url, key, f"/v1/memories/{memory_id}")


@stores.command("list")
def list_stores(as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """List the memory stores."""
    columns = {**_NAMED, "description": "description"}
    show_list(ask_all(url, key, "/v1/memory-stores"), columns, as_json=as_json, nothing="There are no stores yet.")


@stores.command("create")
def create_store(
    name: Annotated[str, typer.Argument(help="What it is called.")],
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    project: Project = None,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Make a memory store, and print its id."""
    body = {"name": name, "description": description, "project_id": project}
    given = {field: value for field, value in body.items() if value is not None}
    print_made(create(url, key, "/v1/memory-stores", given), as_json=as_json)


@stores.command("show")
def show_store(name: Store, as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """Show a memory store."""
    show_one(ask("GET", url, key, f"/v1/memory-stores/{_store(url, key, name)}")["data"], as_json=as_json)


@stores.command("files")
def list_files(
    name: Store,
    user: User,
    below: Annotated[str, typer.Option(help="What their paths begin with.")] = "",
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """List a user's notes."""
    query = urlencode({"user_id": user, "path": below})
    found = ask("GET", url, key, f"/v1/memory-stores/{_store(url, key, name)}/files?{query}")["data"]
    columns: Columns = {"path": "path", "characters": "size", "updated": "updated_at"}
    show_list(found, columns, as_json=as_json, nothing="There are no notes.")


@stores.command("read")
def read_file(name: Store, path: Path, user: User, url: Url = HERE, key: Key = None) -> None:
    """Print a note."""
    query = urlencode({"user_id": user, "path": path})
    found = ask("GET", url, key, f"/v1/memory-stores/{_store(url, key, name)}/files/content?{query}")["data"]
    sys.stdout.write(found["content"])
    sys.stdout.flush()


@stores.command("write")
def write_file(
    name: Store,
    path: Path,
    user: User,
    text: Annotated[str, typer.Argument(help="The note; - is the standard input.")] = "-",
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Write a note, in the place of one that is there.

    [dim]Example:[/] echo "Prefers trains." | stoa memory-stores write notes travel.md --user u-1
    """
    content = sys.stdin.read() if text == "-" else text
    body = {"user_id": user, "path": path, "content": content}
    ask("PUT", url, key, f"/v1/memory-stores/{_store(url, key, name)}/files", body)
    out.print("written", markup=False)


@stores.command("remove")
def remove_file(name: Store, path: Path, user: User, yes: Yes = False, url: Url = HERE, key: Key = None) -> None:
    """Delete a note, and print the receipt."""
    store_id = _store(url, key, name)
    confirm(f"Delete the note {path} of {user}?", yes=yes)
    deleted(url, key, f"/v1/memory-stores/{store_id}/files?{urlencode({'user_id': user, 'path': path})}")


@stores.command("delete")
def delete_store(name: Store, yes: Yes = False, url: Url = HERE, key: Key = None) -> None:
    """Delete a memory store with its notes, and print the receipt."""
    store_id = _store(url, key, name)
    confirm(f"Delete the memory store {name} and its notes?", yes=yes)
    deleted(url, key, f"/v1/memory-stores/{store_id}")


def _memory(url: str | None, key: str | None, name: str) -> str:
    return id_of(name, "memory", lambda: ask_all(url, key, "/v1/memories"))


def _store(url: str | None, key: str | None, name: str) -> str:
    return id_of(name, "memory store", lambda: ask_all(url, key, "/v1/memory-stores"))


def _scope(user: str, session: str | None) -> str:
    return urlencode({"user_id": user} | ({"session_id": session} if session else {}))


def _text(data: Any) -> str:
    return " ".join(str(part.get("text", "")) for part in data.get("content", []) if isinstance(part, dict))
