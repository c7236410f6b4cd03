"""`stoa artifacts`: documents that agents and users publish, over the server's public HTTP API."""

import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from stoa.cli.asking import (
    HERE,
    All,
    Exit,
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
    download,
    fail,
    id_of,
    out,
    print_json,
    print_made,
    text_of,
)
from stoa.cli.tables import Columns, show_list, show_one

app = typer.Typer(no_args_is_help=True, help="Artifacts: documents that agents and people publish, in versions.")
Artifact = Annotated[str, typer.Argument(help="The artifact's id, or its name where only one has it.")]


@app.command("list")
def list_artifacts(
    user: Annotated[str | None, typer.Option(help="Only of this end user.")] = None,
    limit: Limit = 25,
    everything: All = False,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """List artifacts, the newest first."""
    columns: Columns = {
        "id": "id",
        "name": "name",
        "kind": "kind",
        "version": "latest_version.version",
        "shared": "visibility",
        "user": "user_id",
        "run": "run_id",
        "updated": "updated_at",
    }
    path = f"/v1/artifacts?{urlencode({'user_id': user})}" if user else "/v1/artifacts"
    found = ask_all(url, key, path, None if everything else limit)
    show_list(found, columns, as_json=as_json, nothing="Nothing was published yet.")


@app.command("show")
def show(artifact: Artifact, as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """Show an artifact."""
    show_one(ask("GET", url, key, f"/v1/artifacts/{_id(url, key, artifact)}")["data"], as_json=as_json)


@app.command("versions")
def versions(artifact: Artifact, as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """List an artifact's versions."""
    columns: Columns = {
        "id": "id",
        "version": "version",
        "name": "name",
        "bytes": "size",
        "type": "mime_type",
        "run": "run_id",
        "created": "created_at",
    }
    found = ask_all(url, key, f"/v1/artifacts/{_id(url, key, artifact)}/versions")
    show_list(found, columns, as_json=as_json, nothing="It has no versions.")


@app.command("publish")
def publish(
    file: Annotated[Path, typer.Argument(help="A text; - is the standard input.", allow_dash=True)],
    name: Annotated[str | None, typer.Option(help="What it is called. \\[default: the file's name]")] = None,
    kind: Annotated[str, typer.Option(help="markdown, html, code, svg, mermaid, json, csv or chart.")] = "markdown",
    into: Annotated[str | None, typer.Option(help="An artifact, for another version of it.")] = None,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Publish a text, and print its id.

    [dim]Example:[/] stoa artifacts publish report.md --name "Weekly report"
    """
    content = text_of(file)
    if into is not None:
        path, body = f"/v1/artifacts/{_id(url, key, into)}/versions", {"content": content}
        body |= {"name": name} if name else {}
    else:
        called = file.name if str(file) != "-" else name
        if called is None:
            raise fail("Name what comes from the standard input with --name.", Exit.USED_WRONGLY)
        path, body = "/v1/artifacts", {"file_name": called, "name": name or called, "kind": kind, "content": content}
    made: Any = create(url, key, path, body)
    print_made(made, as_json=as_json)


@app.command("download")
def download_version(
    artifact: Artifact,
    file: Annotated[Path, typer.Argument(help="Where it goes; - is the standard output.", allow_dash=True)],
    version: Annotated[str, typer.Option(help="The id of a version, its number, or latest.")] = "latest",
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Write the content of a version."""
    path = f"/v1/artifacts/{_id(url, key, artifact)}/versions/{version}/download"
    content = download(url, key, path)
    if str(file) == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return
    file.write_bytes(content)
    out.print(str(file), markup=False)


@app.command("share")
def share(artifact: Artifact, as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """Make a link to the newest version that anybody may open, and print it."""
    made = ask("POST", url, key, f"/v1/artifacts/{_id(url, key, artifact)}/share", {})["data"]
    if as_json:
        print_json(made)
    else:
        out.print(made["url"], markup=False)


@app.command("unshare")
def unshare(artifact: Artifact, url: Url = HERE, key: Key = None) -> None:
    """Revoke an artifact's link."""
    ask("DELETE", url, key, f"/v1/artifacts/{_id(url, key, artifact)}/share")
    out.print("no longer shared", markup=False)


@app.command("delete")
def delete(artifact: Artifact, yes: Yes = False, url: Url = HERE, key: Key = None) -> None:
    """Delete an artifact with all versions, and print the receipt."""
    artifact_id = _id(url, key, artifact)
    confirm(f"Delete the artifact {artifact} with all of its versions?", yes=yes)
    deleted(url, key, f"/v1/artifacts/{artifact_id}")


def _id(url: str | None, key: str | None, artifact: str) -> str:
    return id_of(artifact, "artifact", lambda: ask_all(url, key, "/v1/artifacts"))
