"""`stoa models`: the available models, and the connections to providers."""

import os
from typing import Annotated, Any

import typer

from stoa.cli.asking import HERE, Json, Key, Url, Yes, ask, ask_all, confirm, create, id_of, out, print_made
from stoa.cli.tables import Columns, show_list

app = typer.Typer(no_args_is_help=True, help="Models, and connections to their providers.")
Name = Annotated[str, typer.Argument(help="The connection's name: lower-case letters, digits, hyphens.")]


@app.command("list")
def list_models(as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """List the models that can be asked."""
    columns: Columns = {"slug": "slug", "name": "name", "provider": "provider", "default": "default", "id": "id"}
    show_list(ask_all(url, key, "/v1/router/models"), columns, as_json=as_json, nothing="There are no models.")


@app.command("facts")
def facts(as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """List what models can do and cost, and where the operator read that, and when.

    Prices are US dollars per million tokens, of the prompt and of the answer.
    """
    columns: Columns = {
        "slug": "slug",
        "context": "context_tokens",
        "answer": "output_tokens",
        "takes": lambda row: ", ".join(row["capabilities"]),
        "source": _source,
        "price": _price,
        "price source": lambda row: _source(row.get("price") or {}),
    }
    show_list(ask_all(url, key, "/v1/router/models"), columns, as_json=as_json, nothing="There are no models.")


def _price(row: Any) -> str:
    price = row.get("price")
    return f"{price['prompt']:g} / {price['completion']:g}" if price else "none"


def _source(row: Any) -> str:
    return ", ".join(one for one in (row.get("source"), row.get("as_of")) if one)


@app.command("connections")
def connections(as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """List the connections to providers."""
    columns: Columns = {"name": "name", "type": "type", "url": "base_url", "key": "has_api_key", "id": "id"}
    nothing = "There are no connections. Make one with: stoa models connect"
    show_list(ask_all(url, key, "/v1/connections"), columns, as_json=as_json, nothing=nothing)


@app.command("connect")
def connect(
    name: Name,
    provider: Annotated[str, typer.Argument(help="openai, anthropic, gemini, ollama, vllm … (docs/guide/models.md)")],
    base_url: Annotated[
        str | None, typer.Option(help="Where it is, if not where the provider is.", show_default=False)
    ] = None,
    no_api_key: Annotated[bool, typer.Option("--no-api-key", help="It needs none.")] = False,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Connect a provider: its models join the list. Its key is taken from STOA_SECRET_API_KEY, or asked for.

    [dim]Example:[/] stoa models connect work openai
    """
    config = {"base_url": base_url} if base_url else {}
    if not no_api_key:
        config["api_key"] = os.environ.get("STOA_SECRET_API_KEY") or typer.prompt("API key", hide_input=True, err=True)
    made = create(url, key, "/v1/connections", {"name": name, "type": provider, "config": config})
    print_made(made, as_json=as_json)


@app.command("disconnect")
def disconnect(name: Name, yes: Yes = False, url: Url = HERE, key: Key = None) -> None:
    """Remove a connection and its key; its models leave the list."""
    connection_id = id_of(name, "connection", lambda: ask_all(url, key, "/v1/connections"))
    confirm(f"Remove the connection {name}?", yes=yes)
    ask("DELETE", url, key, f"/v1/connections/{connection_id}")
    out.print("removed", markup=False)
