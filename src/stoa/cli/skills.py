"""`stoa skills`: instructions that agents read, over the server's public HTTP API."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from stoa.cli.asking import (
    HERE,
    Json,
    Key,
    Url,
    Yes,
    ask,
    ask_all,
    bytes_of,
    confirm,
    create,
    deleted,
    download,
    id_of,
    out,
    print_made,
    refused,
    server,
    text_of,
)
from stoa.cli.forms import uploading
from stoa.cli.stream.errors import StoaError
from stoa.cli.tables import Columns, show_list, show_one

app = typer.Typer(no_args_is_help=True, help="Skills: instructions with their files, in versions, for agents to read.")
Skill = Annotated[str, typer.Argument(help="The skill's name or id.")]
Version = Annotated[str, typer.Option(help="The id of a version, its number, or latest.")]
Instructions = Annotated[Path, typer.Argument(help="The instructions; - is the standard input.", allow_dash=True)]
Description = Annotated[str, typer.Option(help="When an agent should use it.")]


@app.command("list")
def list_skills(as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """List the skills."""
    columns: Columns = {
        "id": "id",
        "name": "name",
        "version": "latest_version",
        "updated": "updated_at",
        "description": "description",
    }
    nothing = "There are no skills yet. Make one with: stoa skills create"
    show_list(ask_all(url, key, "/v1/skills"), columns, as_json=as_json, nothing=nothing)


@app.command("show")
def show(skill: Skill, as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """Show a skill."""
    show_one(ask("GET", url, key, f"/v1/skills/{_id(url, key, skill)}")["data"], as_json=as_json)


@app.command("read")
def read(skill: Skill, version: Version = "latest", url: Url = HERE, key: Key = None) -> None:
    """Print what an agent reads."""
    found = ask("GET", url, key, f"/v1/skills/{_id(url, key, skill)}/versions/{version}/instructions")
    sys.stdout.write(found["instructions"].rstrip("\n") + "\n")
    sys.stdout.flush()


@app.command("create")
def create_skill(
    name: Annotated[str, typer.Argument(help="The skill's name, as in expense-reports.")],
    file: Instructions,
    description: Description,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Make a skill that is instructions alone, and print its id.

    [dim]Example:[/] stoa skills create refunds refunds.md --description "Use when a customer wants money back."
    """
    body = {"name": name, "description": description, "instructions": text_of(file)}
    print_made(create(url, key, "/v1/skills", body), as_json=as_json)


@app.command("release")
def release(
    skill: Skill,
    file: Instructions,
    description: Description,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Make another version of a skill; agents that named one keep it."""
    body = {"description": description, "instructions": text_of(file)}
    print_made(create(url, key, f"/v1/skills/{_id(url, key, skill)}/versions", body), as_json=as_json)


@app.command("upload")
def upload(
    file: Annotated[Path, typer.Argument(help="A ZIP with SKILL.md at its root.", dir_okay=False)],
    into: Annotated[str | None, typer.Option(help="A skill, for another version of it.")] = None,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Make a skill with files from a ZIP, and print its id.

    [dim]Example:[/] stoa skills upload refunds.zip
    """
    path = "/v1/skills/upload" if into is None else f"/v1/skills/{_id(url, key, into)}/versions/upload"
    call = uploading(path, "file", [(file, bytes_of(file))])
    try:
        print_made(server(url, key).json(call)["data"], as_json=as_json)
    except StoaError as error:
        raise refused(error) from error


@app.command("download")
def download_version(
    skill: Skill,
    file: Annotated[Path, typer.Argument(help="Where the ZIP goes.", dir_okay=False)],
    version: Version = "latest",
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Write a version as a ZIP."""
    path = f"/v1/skills/{_id(url, key, skill)}/versions/{version}/download"
    file.write_bytes(download(url, key, path))
    out.print(str(file), markup=False)


@app.command("versions")
def versions(skill: Skill, as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """List a skill's versions, the newest first."""
    columns: Columns = {
        "id": "id",
        "version": "version",
        "created": "created_at",
        "files": lambda one: len(one["files"]),
        "description": "description",
    }
    found = ask_all(url, key, f"/v1/skills/{_id(url, key, skill)}/versions")
    show_list(found, columns, as_json=as_json, nothing="It has no versions.")


@app.command("delete")
def delete(skill: Skill, yes: Yes = False, url: Url = HERE, key: Key = None) -> None:
    """Delete a skill with all versions, and print the receipt."""
    skill_id = _id(url, key, skill)
    confirm(f"Delete the skill {skill} with all of its versions?", yes=yes)
    deleted(url, key, f"/v1/skills/{skill_id}")


def _id(url: str | None, key: str | None, skill: str) -> str:
    return id_of(skill, "skill", lambda: ask_all(url, key, "/v1/skills"))
