"""`stoa apps deploy FILE`: creates the tools that the file's flow names, releases the flow as a version, and deploys it
as an app."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from stoa.cli import flow_skills, flow_stores
from stoa.cli.asking import ask, ask_all, errors, fail, out, refused, server
from stoa.cli.flow_files import FileError, FlowFile, read
from stoa.cli.forms import uploading
from stoa.cli.stream.errors import StoaError

SUFFIXES: Final = (".yaml", ".yml", ".json")


def is_file(target: str) -> bool:
    """Whether a command's argument is a file, and not an app's name."""
    return target.endswith(SUFFIXES)


def deploy_file(
    url: str | None,
    key: str | None,
    target: str,
    project_id: Callable[[], str],
    *,
    name: str | None,
    workflow: str | None,
    dry_run: bool,
) -> Any:
    """The app with its deployment. None after a dry run, which prints what would be sent."""
    try:
        found = read(Path(target).read_text("utf-8"), os.environ, workflow)
    except (FileError, OSError, UnicodeDecodeError) as error:
        raise fail(f"{target}: {error}") from error
    for note in found.notes:
        errors.print(f"note: {note}", markup=False)
    if dry_run:
        tools = [{**tool, "secrets": sorted(tool.get("secrets", {}))} for tool in found.tools]
        shown = {"name": found.name, "flow": found.flow, "tools": tools, "knowledge_bases": found.bases}
        out.print(json.dumps(shown, indent=2), markup=False)
        return None
    home = project_id()
    if found.bases:
        ids = {base: _base(url, key, home, base) for base in found.bases}
        found = replace(found, flow=flow_stores.with_ids(found.flow, ids))
    if skills := list(flow_skills.wanted(found.flow)):
        found = replace(found, flow=_with_skills(url, key, home, found.flow, skills, Path(target)))
    workflow_id, version_id = _released(url, key, home, found)
    for tool in found.tools:
        _make_tool(url, key, tool)
    return _deployed(url, key, home, workflow_id, version_id, name or found.name)


def _released(url: str | None, key: str | None, project_id: str, found: FlowFile) -> tuple[str, str]:
    """(workflow, version). Uses the latest version if it has this flow, else releases a new one."""
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


def _base(url: str | None, key: str | None, project_id: str, name: str) -> str:
    """The id of the project's knowledge base of this name. Creates the base if there is none."""
    path = "/v1/knowledgebases"
    there = _named(ask_all(url, key, f"{path}?project_id={project_id}"), name, "knowledge bases")
    if there is None:
        there = ask("POST", url, key, path, {"name": name, "project_id": project_id})["data"]
        out.print(f"knowledge base {name} is made", markup=False)
    return str(there["id"])


def _with_skills(
    url: str | None,
    key: str | None,
    project_id: str,
    flow: Mapping[str, Any],
    skills: Sequence[flow_skills.Wanted],
    file: Path,
) -> Mapping[str, Any]:
    """The flow with skills of this project: those of the same name, else those that lie beside the file. What is
    neither stays as it is, and the server says what is missing."""
    there = {str(one["name"]): str(one["id"]) for one in ask_all(url, key, f"/v1/skills?project_id={project_id}")}
    known = frozenset(there.values())
    for skill in skills:
        if skill.id in known or skill.name in there:
            continue
        directory = flow_skills.directory_of(skill, file)
        content = flow_skills.archive(directory) if directory else None
        if content is not None:
            call = uploading(
                "/v1/skills/upload", "file", [(Path(f"{skill.name}.zip"), content)], {"project_id": project_id}
            )
            try:
                there[skill.name] = str(server(url, key).json(call)["data"]["id"])
            except StoaError as error:
                raise refused(error) from error
            out.print(f"skill {skill.name} is made from {directory}", markup=False)
    return dict(flow_skills.with_ids(flow, lambda name, given: given if given in known else there.get(name)))


def _make_tool(url: str | None, key: str | None, tool: Mapping[str, Any]) -> None:
    """Creates the tool, or updates it to the file's definition."""
    there = _named(ask_all(url, key, "/v1/tools"), str(tool["name"]), "tools")
    if there is None:
        ask("POST", url, key, "/v1/tools", dict(tool))
        out.print(f"tool {tool['name']} is made", markup=False)
    elif any(there.get(name) != tool[name] for name in ("description", "config")) or "secrets" in tool:
        changes = {name: value for name, value in tool.items() if name not in ("name", "type")}
        ask("PATCH", url, key, f"/v1/tools/{there['id']}", changes)
        out.print(f"tool {tool['name']} is changed", markup=False)


def _deployed(url: str | None, key: str | None, project_id: str, workflow_id: str, version_id: str, name: str) -> Any:
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
