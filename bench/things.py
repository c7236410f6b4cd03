"""Creates one of everything that the paths of a server's routes name, over its API; except connections, whose models
are requested when they are created, and what only a signed-in user has."""

import re
from typing import Any
from uuid import uuid4

import httpx

TEXT = ("a.txt", b"some text")
FLOW = {"agent": {"model": "stoa-extractive", "instructions": "Answer."}}


class Maker:
    """`client` has the base URL and an organization-wide key."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._ids: dict[str, str] = {}

    async def everything(self) -> dict[str, str]:
        """Ids by the names of the path parameters; `app_run_id` is a run of the app."""
        model = (await self._call("GET", "/v1/router/models"))[0]
        self._ids = {"model_id": model["id"], "slug": model["slug"], "agent": model["slug"]}
        self._ids["org_id"] = (await self._call("GET", "/v1/orgs"))[0]["id"]
        await self._conversations()
        await self._knowledge()
        await self._tools()
        await self._apps()
        await self._resources()
        await self._dialects()
        await self._people()
        await self._trace()
        return self._ids

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        return (await self._sent(method, path, **options))["data"]

    async def _sent(self, method: str, path: str, **options: Any) -> Any:
        answer = await self._client.request(method, path, **options)
        if not answer.is_success:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json()

    async def _conversations(self) -> None:
        model = {"model_id": self._ids["model_id"]}
        chat = (await self._call("POST", "/v1/conversations", json=model))["id"]
        said = {"content": "Hi", "stream": False}
        run = (await self._call("POST", f"/v3/conversations/{chat}/messages", json=said))["id"]
        gone = (await self._call("POST", "/v1/conversations", json=model))["id"]
        deletion = (await self._sent("DELETE", f"/v1/conversations/{gone}"))["deletion_id"]
        file = (await self._call("POST", f"/v1/conversations/{chat}/files", files={"file": TEXT}))["id"]
        self._ids |= {"conversation_id": chat, "chat": chat, "run_id": run, "deletion_id": deletion, "file_id": file}

    async def _knowledge(self) -> None:
        base = await self._call("POST", "/v1/knowledgebases", json={"name": "Fuzzed"})
        self._ids |= {"knowledgebase_id": base["id"], "vector_store_id": base["id"], "project_id": base["project_id"]}
        uploaded = await self._call("POST", f"/v1/knowledgebases/{base['id']}/upload", files={"files": TEXT})
        site = {"name": "s", "provider": "website", "config": {"url": "https://example.invalid/"}}
        source = await self._call("POST", f"/v1/knowledgebases/{base['id']}/sources", json=site)
        self._ids |= {"item_id": uploaded[0]["id"], "source_id": source["id"]}

    async def _tools(self) -> None:
        tool = {"name": f"t{uuid4().hex}", "type": "http", "description": "d", "config": {"url": "http://192.0.2.1/"}}
        self._ids["tool_id"] = (await self._call("POST", "/v1/tools", json=tool))["id"]

    async def _apps(self) -> None:
        workflow = (await self._call("POST", "/v1/workflows", json={"name": "w", "flow": FLOW}))["id"]
        version = {"name": "v", "flow": FLOW, "flow_ui": {}}
        version_id = (await self._call("POST", f"/v1/workflows/{workflow}/release", json=version))["id"]
        wanted = {"name": "a", "project_id": self._ids["project_id"], "workflow_id": workflow}
        app = (await self._call("POST", "/v1/apps", json=wanted))["id"]
        run = (await self._call("POST", f"/apps/{app}/v1/runs", json={"input": {"input": "Hi"}}))["id"]
        yearly = {"timezone": "UTC", "schedule": "0 0 29 2 *"}
        due = {"name": "yearly", "provider": "schedule", "config": yearly}
        trigger = (await self._call("POST", f"/v1/apps/{app}/triggers", json=due))["id"]
        await self._call("POST", f"/v1/apps/{app}/triggers/{trigger}/activate")
        event = (await self._call("POST", f"/v1/apps/{app}/triggers/{trigger}/run"))["id"]
        need = {"name": "n", "type": "connection", "form": {"title": "t"}, "spec": {"type": "x"}, "optional": True}
        needed = (await self._call("POST", f"/v1/workflows/{workflow}/requirements", json=need))["id"]
        self._ids |= {
            "workflow_id": workflow, "version_id": version_id, "workflow_version_id": version_id, "app_id": app,
            "app_run_id": run, "trigger_id": trigger, "event_id": event, "requirement_id": needed,
        }  # fmt: skip

    async def _resources(self) -> None:
        memory = (await self._call("POST", "/v1/memories", json={"name": "m"}))["id"]
        said = {"role": "user", "content": [{"type": "text", "text": "text"}]}
        await self._call("POST", f"/v1/memories/{memory}/items", json={"user_id": "u", "data": said})
        store = (await self._call("POST", "/v1/memory-stores", json={"name": "s"}))["id"]
        note = {"user_id": "u", "path": "u", "content": "text"}
        await self._call("PUT", f"/v1/memory-stores/{store}/files", json=note)
        skill = {"name": f"s-{uuid4().hex}", "description": "d", "instructions": "text"}
        taught = await self._call("POST", "/v1/skills", json=skill)
        report = {"file_name": "a.md", "name": "a", "kind": "markdown", "content": "text"}
        artifact = (await self._call("POST", "/v1/artifacts", json=report))["id"]
        shared = await self._call("POST", f"/v1/artifacts/{artifact}/share", json={})
        self._ids |= {
            "memory_id": memory, "store_id": store, "skill_id": taught["id"], "version": taught["latest_version_id"],
            "artifact_id": artifact, "secret": str(shared.get("url", "")).rpartition("/")[2] or "x",
        }  # fmt: skip

    async def _dialects(self) -> None:
        """Objects of the other APIs' dialects, which have no `data`."""
        slug = self._ids["slug"]
        response = await self._sent("POST", "/router/v1/responses", json={"model": slug, "input": "Hi"})
        spoken = await self._sent("POST", "/router/v1/conversations", json={})
        item = {"type": "message", "role": "user", "content": "Hi"}
        items = await self._sent("POST", f"/router/v1/conversations/{spoken['id']}/items", json={"items": [item]})
        asked = {"model": slug, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        stream = await self._client.post("/router/v1/chat/completions", json=asked, headers={"Stoa-Resumable": "true"})
        completion = re.search(r'"id":"([^"]+)"', stream.text)
        self._ids |= {
            "response": response["id"], "conversation": spoken["id"], "item": items["data"][0]["id"],
            "completion": completion[1] if completion else "x",
        }  # fmt: skip

    async def _people(self) -> None:
        self._ids["key_id"] = (await self._call("POST", "/v1/access-keys", json={"name": "fuzzed"}))["id"]
        invited = {"email": f"{uuid4().hex}@example.com"}
        self._ids["invitation_id"] = (
            await self._call("POST", f"/v1/orgs/{self._ids['org_id']}/invitations", json=invited)
        )["id"]

    async def _trace(self) -> None:
        """With a key of the project, which a trace needs."""
        wanted = {"name": "c", "project_id": self._ids["project_id"]}
        key = (await self._call("POST", "/v1/access-keys", json=wanted))["key"]
        span = {"id": uuid4().hex, "trace_id": "fuzzed", "name": "s", "type": "workflow", "source_id": "s"}
        span |= {"start_time": "2026-03-01T12:00:00Z", "end_time": None}
        await self._client.post("/v1/traces", json={"runs": [span]}, headers={"Authorization": f"Bearer {key}"})
        self._ids["trace_id"] = "fuzzed"
