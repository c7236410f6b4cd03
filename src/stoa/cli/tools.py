"""`stoa tools`: the tools that agents can call."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from stoa.cli.asking import (
    HERE,
    Exit,
    Json,
    Key,
    Url,
    Yes,
    ask,
    ask_all,
    confirm,
    create,
    fail,
    id_of,
    out,
    print_json,
    print_made,
)
from stoa.cli.tables import Columns, print_table, show_list, show_one
from stoa.cli.text import plain

app = typer.Typer(no_args_is_help=True, help="Tools of agents: HTTP, MCP, Python, OpenAPI documents.")
Tool = Annotated[str, typer.Argument(help="The tool's name or id.")]


@app.command("list")
def list_tools(as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """List the tools."""
    columns: Columns = {
        "id": "id",
        "name": "name",
        "type": "type",
        "approval": "approval",
        "offers": lambda one: len(one["offers"]) if "offers" in one else "",
        "description": "description",
    }
    nothing = "There are no tools yet. Make some with: stoa tools create, stoa tools import or stoa apply"
    show_list(ask_all(url, key, "/v1/tools"), columns, as_json=as_json, nothing=nothing)


@app.command("show")
def show(tool: Tool, as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """Show a tool; of an MCP server, what it offers."""
    found = ask("GET", url, key, f"/v1/tools/{_id(url, key, tool)}")["data"]
    plain_fields = [name for name, value in found.items() if not isinstance(value, dict | list)]
    show_one(found, as_json=as_json, fields=[*plain_fields, "config", "secret_names", "editable_params"])
    if not as_json and found.get("offers"):
        print_table(("offers", "description"), [(one["name"], one["description"]) for one in found["offers"]])


@app.command("create")
def create_tool(
    file: Annotated[Path, typer.Argument(help="The definition as JSON; - is the standard input.", allow_dash=True)],
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Make a tool from its definition, and print its id. `stoa apply` keeps several in step with files.

    [dim]Example:[/] echo '{"name": "weather", "type": "http", "description": "The weather of a city.",
    "config": {"url": "https://example.com/weather/{city}"}}' | stoa tools create -
    """
    made = create(url, key, "/v1/tools", _document(file))
    print_made(made, as_json=as_json)


@app.command("import")
def import_tools(
    place: Annotated[str, typer.Argument(help="The URL of an OpenAPI document, or a file (JSON or YAML).")],
    prefix: Annotated[str, typer.Option(help="Leads the names.")] = "",
    operation: Annotated[
        list[str] | None, typer.Option(help="Only this operationId, or as `GET /pets/{id}`. Repeat it.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Redefine tools of the same names.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Make nothing; show what would be made.")] = False,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Make a tool of each operation of an OpenAPI document.

    [dim]Example:[/] stoa tools import https://petstore3.swagger.io/api/v3/openapi.json --prefix pets_ --dry-run
    """
    body: dict[str, Any] = {"prefix": prefix, "replace": replace}
    body |= {"url": place} if place.startswith(("http://", "https://")) else {"document": _text(Path(place))}
    if operation:
        body["operations"] = operation
    answer = ask("POST", url, key, f"/v1/tools/import?dry_run={str(dry_run).lower()}", body)["data"]
    if as_json:
        print_json(answer)
        return
    print_table(("tool", "operation"), [(one["name"], one["operation"]) for one in answer["tools"]])
    for one in answer["skipped"]:
        out.print(f"left out: {one['operation']}: {one['reason']}", style="yellow", markup=False)
    out.print(f"{len(answer['tools'])} tools {'would be made' if dry_run else 'made'}", markup=False)


@app.command("test")
def try_once(
    tool: Tool,
    arguments: Annotated[str, typer.Argument(help='The arguments as JSON: {"city": "Oslo"}.')] = "{}",
    offer: Annotated[str | None, typer.Option("--offer", help="Which tool of an MCP server.")] = None,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Make one real call, and print what a model would be told. Ends with 1 where that is an error."""
    try:
        given = json.loads(arguments)
    except ValueError as error:
        raise fail(f"The arguments are no JSON: {error}", Exit.USED_WRONGLY) from error
    body = {"arguments": given, **({"tool": offer} if offer else {})}
    answer = ask("POST", url, key, f"/v1/tools/{_id(url, key, tool)}/test", body)["data"]
    if as_json:
        print_json(answer)
    elif "error" not in answer:
        sys.stdout.write(plain(answer["result"]) + "\n")
    if "error" in answer:
        raise fail(f"{answer['error']['message']} ({answer['error']['code']}, {answer['milliseconds']} ms)")


@app.command("refresh")
def refresh(tool: Tool, url: Url = HERE, key: Key = None) -> None:
    """Ask an MCP server again what it offers."""
    found = ask("POST", url, key, f"/v1/tools/{_id(url, key, tool)}/refresh")["data"]
    print_table(("offers", "description"), [(one["name"], one["description"]) for one in found.get("offers", [])])


@app.command("delete")
def delete(tool: Tool, yes: Yes = False, url: Url = HERE, key: Key = None) -> None:
    """Delete a tool. Agents that name it go on without it."""
    tool_id = _id(url, key, tool)
    confirm(f"Delete the tool {tool}?", yes=yes)
    ask("DELETE", url, key, f"/v1/tools/{tool_id}")
    out.print("deleted", markup=False)


def _id(url: str | None, key: str | None, tool: str) -> str:
    return id_of(tool, "tool", lambda: ask_all(url, key, "/v1/tools"))


def _document(file: Path) -> Any:
    try:
        return json.loads(_text(file))
    except ValueError as error:
        raise fail(f"{file} is no JSON: {error}", Exit.USED_WRONGLY) from error


def _text(file: Path) -> str:
    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise fail(f"{file} cannot be read: {error.strerror or error}", Exit.USED_WRONGLY) from error
    except UnicodeDecodeError as error:
        raise fail(f"{file} is no text in UTF-8: its byte {error.start + 1} is none.", Exit.USED_WRONGLY) from error
