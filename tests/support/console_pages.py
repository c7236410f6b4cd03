"""The objects that the console's pages show, created over HTTP: an app and what belongs to it, tools, a source, a
key."""

from pathlib import Path
from typing import Any

from tests.support import apps, syncs
from tests.support.doubles import answer
from tests.support.graphs import flow, node
from tests.support.running import Running

NOBODY = "00000000-0000-7000-8000-000000000000"
AGENT = {
    "agent": {"instructions": "You answer questions about travel.", "tools": ["weather"], "subagents": [
        {"name": "reader", "description": "Reads documents."},
    ]},
}  # fmt: skip


def graph(name: str = "Brief", brief: str = "Say something brief about {{topic}}.") -> dict[str, Any]:
    def prompt(text: str) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": text}]}

    options = [
        {"id": "long", "condition": {"variable": "$.words", "operator": "numeric-greater-than", "value": 100}},
        {"id": "short"},
    ]
    return flow(
        node("choice", "kind", "start", name="How long?", options=options),
        node("llm", "brief", {"node": "kind", "option": "short"}, name=name, prompt=prompt(brief)),
        node("llm", "essay", {"node": "kind", "option": "long"}, name="Essay", prompt=prompt("Write about {{topic}}.")),
        node("output", "end", "brief", "essay", pick={"text": "$.brief.output.content || $.essay.output.content"}),
    )


async def fill(running: Running, directory: Path, name: str = "Travel desk") -> dict[str, str]:
    """Creates them; returns the addresses of their pages. Everything that has a free name gets this one."""
    running.model.scripts = [answer(f"Say {name}", reasoning=name)]
    made = {**await _tools(running, name), **await _talks(running, name), **await _apps(running, name)}
    made |= await _knowledge(running, directory, name)
    await running.call("POST", "/v1/access-keys", 201, json={"name": name, "rate_limit": 100_000, "spending_limit": 9})
    return made


async def app(running: Running) -> str:
    """The id of an app that runs a graph."""
    return str((await apps.deployed(running, graph()))["id"])


async def _talks(running: Running, name: str) -> dict[str, str]:
    talk = await running.conversation(title=name)
    run = await running.ask(talk, name)
    gone = (await running.call("DELETE", f"/v1/conversations/{await running.conversation()}"))["deletion_id"]
    return {
        "chat": f"/console/chat/{talk}",
        "thread": f"/console/chat/{talk}/thread?page=1",
        "run": f"/console/runs/{run['id']}",
        "passages": f"/console/runs/{run['id']}/passages",
        "trace": f"/console/traces/{run['id']}",
        "two traces": f"/console/traces/compare?trace={run['id']}&trace={run['id']}",
        "deletion": f"/console/deletions/{gone}",
    }


async def _knowledge(running: Running, directory: Path, name: str) -> dict[str, str]:
    base = (await running.call("POST", "/v1/knowledgebases", 201, json={"name": name}))["data"]["id"]
    files = [("files", ("<script>alert(1).txt", b"High tide is at six."))]
    await running.call("POST", f"/v1/knowledgebases/{base}/upload", 201, files=files)
    found = (await running.call("GET", f"/v1/knowledgebases/{base}/items"))["data"][0]["id"]
    source = await syncs.create(running, base, "directory", {"path": str(directory)}, name=name, schedule="0 4 * * *")
    await syncs.synced(running, source["id"])
    return {
        "base": f"/console/knowledge/{base}?q={name}&mode=hybrid&mode=keyword",
        "item": f"/console/items/{found}?chunk={NOBODY}",
        "items": f"/console/knowledge/{base}/items?status=failed",
        "sources": f"/console/knowledge/{base}/sources",
        "sources only": f"/console/knowledge/{base}/sources/list",
        "source": f"/console/sources/{source['id']}",
        "evaluate": f"/console/knowledge/{base}/evaluate",
    }


async def _apps(running: Running, name: str) -> dict[str, str]:
    project = await apps.project(running)
    drawn = {"name": "travel", "flow": graph(name, "Say something about {{topic}}."), "project_id": project}
    workflow = (await running.call("POST", "/v1/workflows", 201, json=drawn))["data"]["id"]
    first = await _released(running, workflow, graph(), "first")
    body = {"name": "Travel desk", "project_id": project, "workflow_id": workflow, "description": name}
    app = (await running.call("POST", "/v1/apps", 201, json=body))["data"]["id"]
    second = await _released(running, workflow, drawn["flow"], "second")
    await running.call("POST", f"/v1/apps/{app}/deploy", json={"workflow_id": workflow})
    await _released(running, workflow, AGENT, "an-agent")
    deployments = (await running.call("GET", f"/v1/apps/{app}/deployments"))["data"]
    session = "01890a5d-ac96-774b-bcce-b302099a8057"
    given = {"input": {"topic": name, "words": 3}, "user_id": name, "session_id": session}
    await running.call("POST", f"/apps/{app}/v1/runs", json=given)
    need = {"name": name[:100], "type": "connection", "form": {"title": name}, "spec": {"type": "http", "tools": []}}
    await running.call("POST", f"/v1/workflows/{workflow}/requirements", 201, json={**need, "optional": True})
    return {
        "app": f"/console/apps/{app}",
        "deployments": f"/console/apps/{app}/deployments",
        "rollback": f"/console/apps/{app}/rollback?deployment={deployments[-1]['id']}",
        "callbacks": f"/console/apps/{app}/callbacks",
        "project": f"/console/projects/{project}",
        "sessions": f"/console/apps/{app}/sessions",
        "session": f"/console/apps/{app}/sessions/{session}?user={name}",
        "triggers": f"/console/apps/{app}/triggers",
        **await _triggers(running, app, name),
        "workflow": f"/console/workflows/{workflow}",
        "version": f"/console/workflows/{workflow}?version={second}",
        "compare": f"/console/workflows/{workflow}/compare?from={first}&to={second}",
        "chat with an app": f"/?app={app}",
    }


async def _released(running: Running, workflow: str, drawn: dict[str, Any], name: str) -> str:
    sent = {"name": name, "flow": drawn}
    return str((await running.call("POST", f"/v1/workflows/{workflow}/release", 201, json=sent))["data"]["id"])


async def _triggers(running: Running, app: str, name: str) -> dict[str, str]:
    where = f"/v1/apps/{app}/triggers"
    weekly = {"timezone": "Europe/Berlin", "schedule": "30 9 * * 1"}
    read = {"selector": {"topic": name}}
    body = {"name": name, "provider": "schedule", "config": weekly, "input_transformer": read}
    schedule = (await running.call("POST", where, json=body))["data"]
    await running.call("POST", f"{where}/{schedule['id']}/activate")
    hook = (await running.call("POST", where, json={"name": "hook", "provider": "webhook"}))["data"]
    await running.call("POST", f"{where}/{hook['id']}/activate")
    await running.call("POST", hook["webhook_url"].removeprefix(running.url), 202, json={"title": name})
    return {
        "schedule": f"/console/apps/{app}/triggers/{schedule['id']}",
        "webhook": f"/console/apps/{app}/triggers/{hook['id']}",
    }


async def _tools(running: Running, name: str) -> dict[str, str]:
    city = {"type": "string", "description": name, "examples": [name]}
    config = {
        "url": "https://example.com/weather/{city}",
        "parameters": {"type": "object", "properties": {"city": city}, "required": ["city"]},
    }  # fmt: skip
    body = {"name": "weather", "type": "http", "description": name, "config": config}
    tool = (await running.call("POST", "/v1/tools", 201, json=body))["data"]["id"]
    mcp = {"name": "docs", "type": "mcp", "description": name, "config": {"url": "http://127.0.0.1:9/mcp"}}
    server = (await running.call("POST", "/v1/tools", 201, json=mcp))["data"]["id"]
    return {"tool": f"/console/tools/{tool}", "MCP server": f"/console/tools/{server}"}
