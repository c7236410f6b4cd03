"""`stoa conversations`: conversations and their messages, over the server's public HTTP API."""

from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

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
    deleted,
    out,
    print_json,
    print_made,
)
from stoa.cli.tables import Columns, show_list
from stoa.cli.talking import new_conversation
from stoa.cli.text import at

app = typer.Typer(no_args_is_help=True, help="Conversations: list, read, begin, rename, delete.")
Conversation = Annotated[str, typer.Argument(help="The conversation's id, from `stoa conversations list`.")]


@app.command("list")
def list_conversations(
    search: Annotated[
        str | None, typer.Option("--search", "-q", help="Words in titles and messages.", show_default=False)
    ] = None,
    limit: Limit = 25,
    everything: All = False,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """List conversations, the newest first.

    [dim]Example:[/] stoa conversations list --search "notice period"
    """
    path = "/v1/conversations" + (f"?q={quote(search)}" if search else "")
    columns: Columns = {
        "id": "id",
        "title": "title",
        "model": lambda one: at(one, "model.slug") or at(one, "app.name"),
        "messages": "message_count",
        "running": lambda one: "yes" if "active_run_id" in one else "",
        "updated": "updated_at",
    }
    nothing = "Nothing was found." if search else "There are no conversations yet. Begin one with: stoa chat"
    show_list(ask_all(url, key, path, None if everything else limit), columns, as_json=as_json, nothing=nothing)


@app.command("show")
def show(conversation: Conversation, as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """Print a conversation's messages, the oldest first."""
    found = ask_all(url, key, f"/v1/conversations/{conversation}/messages")
    if as_json:
        print_json(found)
        return
    for message in found:
        out.print(f"{message['role']}  {message['created_at']}", style="bold", markup=False)
        out.print(_text(message["content"]) + "\n", markup=False)


@app.command("create")
def create_conversation(
    model: Annotated[
        str | None, typer.Option(help="A model's slug. \\[default: the server's]", show_default=False)
    ] = None,
    base: Annotated[list[str] | None, typer.Option("--base", "-b", help="A base to search. Repeat it.")] = None,
    title: Annotated[str | None, typer.Option(help="What it is about.")] = None,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Begin a conversation and print its id: for stoa chat ID, and stoa ask --conversation ID."""
    made = new_conversation(url, key, model, base or [])
    if title:
        made = ask("PATCH", url, key, f"/v1/conversations/{made['id']}", {"title": title})["data"]
    print_made(made, as_json=as_json)


@app.command("rename")
def rename(
    conversation: Conversation,
    title: Annotated[str, typer.Argument(help="The new title.")],
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Give a conversation another title."""
    ask("PATCH", url, key, f"/v1/conversations/{conversation}", {"title": title})


@app.command("delete")
def delete(conversation: Conversation, yes: Yes = False, url: Url = HERE, key: Key = None) -> None:
    """Delete a conversation for good: messages, runs, events, files. Prints the receipt."""
    confirm(f"Delete the conversation {conversation} for good?", yes=yes)
    deleted(url, key, f"/v1/conversations/{conversation}")


def _text(content: Sequence[dict[str, Any]]) -> str:
    parts = [part["text"] if part["type"] == "text" else f"[{at(part, 'file.name') or 'file'}]" for part in content]
    return "\n".join(parts)
