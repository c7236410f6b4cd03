"""`stoa apps`: workflows and apps of a running server, over its public HTTP."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from stoa.cli.asking import HERE, Key, Url, ask, ask_all, errors, fail, out, print_table
from stoa.cli.flow_files import FileError, FlowFile, read

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Apps of a running server (needs STOA_KEY, or --key).

    A file holds a flow: an agent (agent: …), a graph (nodes: […]), or the YAML of the platform's library
    (connections, prompts, nodes, flows, workflows; ${oc.env:NAME} is filled from the environment):

        stoa apps deploy support.yaml
        stoa apps deploy support.yaml --dry-run

    The same file again deploys what changed; the app keeps its id and address. docs/guide/apps.md tells the whole of
    it.""",
)


@app.command("deploy")
def deploy(
    file: Annotated[Path, typer.Argument(help="YAML or JSON.", exists=True, dir_okay=False)],
    name: Annotated[
        str | None, typer.Option(help="Of the app. \\[default: the workflow's]", show_default=False)
    ] = None,
    workflow: Annotated[
        str | None, typer.Option(help="Which one of the file, where it has several.", show_default=False)
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="The project's id. \\[default: the key's first]", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the flow and its tools, and change nothing.")
    ] = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Release a file's flow as a version, make the tools that it names, and deploy it. Prints the app's address."""
    try:
        found = read(file.read_text("utf-8"), os.environ, workflow)
    except (FileError, UnicodeDecodeError) as error:
        raise fail(f"{file}: {error}") from error
    for note in found.notes:
        errors.print(f"note: {note}", markup=False)
    if dry_run:
        tools = [{**tool, "secrets": sorted(tool.get("secrets", {}))} for tool in found.tools]
        out.print(json.dumps({"name": found.name, "flow": found.flow, "tools": tools}, indent=2), markup=False)
        return
    project_id = project or str(ask("GET", url, key, "/v1/projects")["data"][0]["id"])
    workflow_id, version_id = _released(url, key, project_id, found)
    for tool in found.tools:
        _make_tool(url, key, tool)
    made = _deployed(url, key, project_id, workflow_id, version_id, name or found.name)
    out.print(f"{made['name']} runs version {made['workflow_version']['version']} of {found.name}", markup=False)
    out.print(f"{made['id']}  {made['url']}", markup=False)


def _released(url: str, key: str | None, project_id: str, found: FlowFile) -> tuple[str, str]:
    """The workflow and its version with this flow: the latest one where it is the same."""
    path = "/v1/workflows"
    listed = _named(ask_all(url, key, f"{path}?project_id={project_id}"), found.name, "workflows")
    if listed is None:
        body = {"name": found.name, "project_id": project_id, "flow": found.flow}
        listed = ask("POST", url, key, path, body)["data"]
    workflow_id = str(listed["id"])
    if listed["versions"]:
        latest = ask("GET", url, key, f"{path}/{workflow_id}/versions?page_size=1")["data"][0]["id"]
        version = ask("GET", url, key, f"{path}/{workflow_id}/versions/{latest}")["data"]
        if version["flow"] == found.flow:
            return workflow_id, str(latest)
    body = {"name": found.name, "flow": found.flow}
    return workflow_id, str(ask("POST", url, key, f"{path}/{workflow_id}/release", body)["data"]["id"])


def _make_tool(url: str, key: str | None, tool: Mapping[str, Any]) -> None:
    """Made, or changed to what the file says."""
    there = _named(ask_all(url, key, "/v1/tools"), str(tool["name"]), "tools")
    if there is None:
        ask("POST", url, key, "/v1/tools", dict(tool))
        out.print(f"tool {tool['name']} is made", markup=False)
    elif any(there.get(name) != tool[name] for name in ("description", "config")) or "secrets" in tool:
        changes = {name: value for name, value in tool.items() if name not in ("name", "type")}
        ask("PATCH", url, key, f"/v1/tools/{there['id']}", changes)
        out.print(f"tool {tool['name']} is changed", markup=False)


def _deployed(url: str, key: str | None, project_id: str, workflow_id: str, version_id: str, name: str) -> Any:
    body: dict[str, Any] = {"workflow_id": workflow_id, "workflow_version_id": version_id}
    there = _named(ask_all(url, key, f"/v1/apps?project_id={project_id}"), name, "apps")
    if there is None:
        return ask("POST", url, key, "/v1/apps", {"name": name, "project_id": project_id, **body})["data"]
    if there["workflow_version_id"] == version_id:
        return there
    return ask("POST", url, key, f"/v1/apps/{there['id']}/deploy", body)["data"]


def _named(found: Sequence[Any], name: str, what: str) -> Any | None:
    same = [one for one in found if one["name"] == name]
    if len(same) > 1:
        raise fail(f"There are {len(same)} {what} named {name}; name one of them otherwise first.")
    return same[0] if same else None


@app.command("list")
def list_apps(
    project: Annotated[
        str | None, typer.Option(help="The project's id. \\[default: the key's first]", show_default=False)
    ] = None,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """List a project's apps and what they run."""
    project_id = project or str(ask("GET", url, key, "/v1/projects")["data"][0]["id"])
    rows = (
        (one["id"], one["name"], one["workflow"]["name"], str(one["workflow_version"]["version"]), one["url"])
        for one in ask_all(url, key, f"/v1/apps?project_id={project_id}")
    )
    print_table(("id", "name", "workflow", "version", "url"), rows)
