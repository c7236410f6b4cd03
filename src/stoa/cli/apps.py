"""`stoa apps`: deployed agents, over the server's public HTTP."""

import json
import sys
import uuid
from typing import Annotated, Any

import typer

from stoa.cli.answer.following import tell_end
from stoa.cli.answer.reader import EVENT_STREAM
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
    fail,
    id_of,
    out,
    print_json,
    server,
)
from stoa.cli.deploying import deploy_file, is_file
from stoa.cli.stream.follow import Follower
from stoa.cli.stream.transport import Call
from stoa.cli.tables import Columns, show_list, show_one
from stoa.cli.talking import exit_code, follow, on_terminal, read_question

app = typer.Typer(no_args_is_help=True, help="Apps: deployed agents. `stoa apply` makes and changes them from files.")
App = Annotated[str, typer.Argument(help="The app's id, or its name where only one has it.")]
Project = Annotated[str | None, typer.Option(help="A project's id. \\[default: the only one]", show_default=False)]


def project_id_of(url: str | None, key: str | None, project: str | None) -> str:
    """The project that is named, or the only one that the key can see. Ends the command if there are several."""
    found = ask_all(url, key, "/v1/projects")
    if project is not None:
        return id_of(project, "project", lambda: found)
    if len(found) != 1:
        names = ", ".join(one["name"] for one in found) or "none"
        raise fail(f"Name a project with --project; these are there: {names}", Exit.USED_WRONGLY)
    return str(found[0]["id"])


@app.command("list")
def list_apps(
    project: Project = None,
    archived: Annotated[bool, typer.Option("--archived", help="Archived ones too.")] = False,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """List a project's apps."""
    query = f"project_id={project_id_of(url, key, project)}&include_archived={str(archived).lower()}"
    columns: Columns = {
        "id": "id",
        "name": "name",
        "workflow": "workflow.name",
        "version": "workflow_version.version",
        "access": "access_control.access_type",
        "url": "url",
        "archived": "archived_at",
    }
    nothing = "There are no apps yet. Make one with: stoa apply FILE"
    show_list(ask_all(url, key, f"/v1/apps?{query}"), columns, as_json=as_json, nothing=nothing)


@app.command("show")
def show(name: App, project: Project = None, as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """Show an app."""
    found = ask("GET", url, key, f"/v1/apps/{app_id_of(url, key, name, project)}")["data"]
    plain = [field for field, value in found.items() if not isinstance(value, dict | list)]
    nested = ["workflow.name", "workflow_version.version", "access_control.access_type"]
    show_one(found, as_json=as_json, fields=[*plain, *nested])


@app.command("deployments")
def deployments(name: App, project: Project = None, as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """List what an app has run, the newest first."""
    columns: Columns = {
        "deployed": "created_at",
        "workflow": "workflow.name",
        "version": "workflow_version.version",
        "version id": "workflow_version_id",
    }
    found = ask_all(url, key, f"/v1/apps/{app_id_of(url, key, name, project)}/deployments")
    show_list(found, columns, as_json=as_json, nothing="Nothing was deployed.")


@app.command("deploy")
def deploy(
    target: Annotated[str, typer.Argument(help="An app's id or name; or a file (.yaml, .yml, .json).")],
    version: Annotated[int | None, typer.Option(help="Which of its workflow's. \\[default: the latest]")] = None,
    name: Annotated[str | None, typer.Option(help="Of the app, for a file. \\[default: the workflow's]")] = None,
    workflow: Annotated[str | None, typer.Option(help="Which one of the file, where it has several.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Of a file: print what would be sent.")] = False,
    project: Project = None,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Let an app run another released version: the latest, or an older one, which rolls back. Or deploy a file.

    A file holds a flow: an agent (agent: …), a graph (nodes: […]), or the YAML of the platform's library (connections,
    prompts, nodes, flows, workflows; ${oc.env:NAME} is filled from the environment). Its flow is released where it
    changed, the HTTP and MCP tools that it names are made, and the app keeps its id and address.

    [dim]Examples:[/] stoa apps deploy travel --version 3
    stoa apps deploy travel.yaml
    """
    if is_file(target):
        made = deploy_file(
            url, key, target, lambda: project_id_of(url, key, project), name=name, workflow=workflow, dry_run=dry_run
        )
        if made is not None:
            _tell_deployed(made, as_json=as_json)
        return
    app_id = app_id_of(url, key, target, project)
    workflow_id = ask("GET", url, key, f"/v1/apps/{app_id}")["data"]["workflow_id"]
    body = {"workflow_id": workflow_id}
    if version is not None:
        versions = ask_all(url, key, f"/v1/workflows/{workflow_id}/versions")
        chosen = [one["id"] for one in versions if one["version"] == version]
        if not chosen:
            raise fail(f"There is no version {version}; the latest is {max(one['version'] for one in versions)}.")
        body["workflow_version_id"] = chosen[0]
    made = ask("POST", url, key, f"/v1/apps/{app_id}/deploy", body)
    if as_json:
        print_json(made)
    else:
        out.print("deployed", markup=False)


def _tell_deployed(made: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json({"data": made})
        return
    out.print(f"{made['name']} runs version {made['workflow_version']['version']}", markup=False)
    out.print(f"{made['id']}  {made['url']}", markup=False)


@app.command("run")
def run(
    name: App,
    words: Annotated[list[str] | None, typer.Argument(help="The input; - is the standard input.")] = None,
    user: Annotated[str | None, typer.Option(help="The end user.")] = None,
    session: Annotated[str | None, typer.Option(help="A session's id: runs of one see one another.")] = None,
    project: Project = None,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Run an app and print its answer, as `stoa ask` does. Input that is a JSON object is sent as it is.

    [dim]Example:[/] stoa apps run travel "What may a hotel cost?"
    """
    text = read_question(words or [])
    if not text.strip():
        raise fail('Give it something to do: stoa apps run NAME "…", or pipe it in.', Exit.USED_WRONGLY)
    app_id = app_id_of(url, key, name, project)
    body: dict[str, Any] = {"input": _input(text), "stream": True}
    body |= {field: value for field, value in {"user_id": user, "session_id": session}.items() if value}
    headers = {"Accept": EVENT_STREAM, "Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
    call = Call("POST", f"/apps/{app_id}/v1/runs", body=json.dumps(body).encode(), headers=headers)
    quiet = as_json or not on_terminal()
    outcome = follow(server(url, key), (call, Follower()), quiet=quiet)
    if as_json and outcome.run_id:
        print_json(ask("GET", url, key, f"/v1/runs/{outcome.run_id}")["data"])
    elif not quiet:
        tell_end(outcome)
    elif outcome.terminal is not None:
        sys.stdout.write((outcome.terminal.data.get("output") or outcome.text) + "\n")
        sys.stdout.flush()
    if (code := exit_code(outcome)) is not Exit.DONE:
        raise typer.Exit(int(code))


@app.command("archive")
def archive(name: App, project: Project = None, url: Url = HERE, key: Key = None) -> None:
    """Let an app take no more runs."""
    ask("POST", url, key, f"/v1/apps/{app_id_of(url, key, name, project)}/archive")
    out.print("archived", markup=False)


@app.command("restore")
def restore(name: App, project: Project = None, url: Url = HERE, key: Key = None) -> None:
    """Let an archived app take runs again."""
    ask("POST", url, key, f"/v1/apps/{app_id_of(url, key, name, project, archived=True)}/restore")
    out.print("restored", markup=False)


@app.command("delete")
def delete(name: App, project: Project = None, yes: Yes = False, url: Url = HERE, key: Key = None) -> None:
    """Delete an app. Its conversations stay, and take no more messages."""
    app_id = app_id_of(url, key, name, project, archived=True)
    confirm(f"Delete the app {name}?", yes=yes)
    ask("DELETE", url, key, f"/v1/apps/{app_id}")
    out.print("deleted", markup=False)


def app_id_of(url: str | None, key: str | None, name: str, project: str | None, *, archived: bool = False) -> str:
    def listed() -> list[Any]:
        query = f"project_id={project_id_of(url, key, project)}&include_archived={str(archived).lower()}"
        return ask_all(url, key, f"/v1/apps?{query}")

    return id_of(name, "app", listed)


def _input(text: str) -> dict[str, Any]:
    if text.lstrip().startswith("{"):
        try:
            parsed = json.loads(text)
        except ValueError:
            return {"input": text}
        if isinstance(parsed, dict):
            return parsed
    return {"input": text}
