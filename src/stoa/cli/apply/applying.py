"""Reads the objects of a server, and applies a plan: one object after the other, by calls that can be repeated."""

import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from stoa.cli.apply.definitions import Definitions, workflow_name
from stoa.cli.apply.plan import REINDEXED, WRITE_ONLY, Action, Change, Live, with_base_ids
from stoa.cli.asking import PAGE_SIZE_MAX
from stoa.cli.client import request
from stoa.cli.stream.errors import NotFoundError, StoaError
from stoa.cli.stream.transport import Transport, path


class Target:
    """One project of one server. Every method raises StoaError if a call is refused."""

    def __init__(self, transport: Transport, project_id: str) -> None:
        self._transport = transport
        self.project_id = project_id

    def live(self, wanted: Definitions) -> Live:
        """The existing objects. Sources are read only for bases that the files name."""
        bases = _by_name(self._mine(self._all("/v1/knowledgebases")))
        sources: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for name in wanted.bases:
            if len(found := bases.get(name, ())) == 1:
                for source in self._all(path("/v1/knowledgebases/{}/sources", found[0]["id"])):
                    sources.setdefault((name, str(source["name"])), []).append(source)
        tools = _by_name(self._mine(self._all("/v1/tools")))
        apps = self._all(f"/v1/apps?project_id={self.project_id}")
        return Live(
            bases, sources, tools, _by_name(self._app(one) if one["name"] in wanted.apps else one for one in apps)
        )

    def carry_out(self, change: Change, tell: Callable[[str], None]) -> None:
        """Applies one change completely. Calling it again does nothing."""
        if change.action in (Action.CREATE, Action.CHANGE):
            {"base": self._base, "source": self._source, "tool": self._tool, "app": self._deploy}[change.kind](change)
            tell(f"{'created' if change.action is Action.CREATE else 'changed'}  {change.kind}  {change.name}")

    # --- kinds ------------------------------------------------------------------------------------------------------
    def _base(self, change: Change) -> None:
        if change.live is None:
            self._create("/v1/knowledgebases", {**change.wanted, "project_id": self.project_id})
            return
        where = path("/v1/knowledgebases/{}", change.live["id"])
        changed = {name: change.wanted[name] for name in change.fields}
        anew = {name: changed.pop(name) for name in REINDEXED if name in changed and change.live["item_count"]}
        if changed:
            self._send("PUT", where, changed)
        if anew:
            self._send("POST", f"{where}/reindex", anew)

    def _source(self, change: Change) -> None:
        body = dict(change.wanted)
        if change.live is None:
            base_id = self.base_ids([str(change.below)])[str(change.below)]
            self._create(path("/v1/knowledgebases/{}/sources", base_id), body)
            return
        if WRITE_ONLY not in change.fields:
            body.pop(WRITE_ONLY, None)
        kept = {name: change.live[name] for name in ("schedule", "timezone", "metadata") if name in change.live}
        self._send("PUT", path("/v1/knowledgebase-sources/{}", change.live["id"]), {**kept, **body})

    def _tool(self, change: Change) -> None:
        if change.live is None:
            self._create("/v1/tools", dict(change.wanted))
            return
        changed = {name: change.wanted[name] for name in change.fields}
        self._send("PATCH", path("/v1/tools/{}", change.live["id"]), changed)

    def _deploy(self, change: Change) -> None:
        """Saves the workflow, releases it, and deploys the app. After an interruption the next call continues from what
        exists."""
        bases = [str(one) for one in _bases_of(change.wanted["flow"])]
        flow = with_base_ids(change.wanted["flow"], self.base_ids(bases))
        live = change.live
        if live is None:
            released = self._released(self._workflow(change, flow), flow, change.wanted.get("_flow_ui"))
            body = {"name": change.name, "project_id": self.project_id, **released, **_shown(change.wanted)}
            self._create("/v1/apps", body)
            return
        if "flow" in change.fields:
            released = self._released(str(live["workflow_id"]), flow, change.wanted.get("_flow_ui"))
            self._send("POST", path("/v1/apps/{}/deploy", live["id"]), released)
        if change.fields - {"flow"}:
            self._send("PATCH", path("/v1/apps/{}", live["id"]), _shown(change.wanted))

    def _workflow(self, change: Change, flow: Mapping[str, Any]) -> str:
        name = workflow_name({"name": change.name, "workflow": change.wanted.get("_workflow")})
        found = [one for one in self._all(f"/v1/workflows?project_id={self.project_id}") if one["name"] == name]
        if found:
            return str(found[0]["id"])
        body = {"name": name, "project_id": self.project_id, "flow": flow}
        return str(self._create("/v1/workflows", body)["id"])

    def _released(self, workflow_id: str, flow: Mapping[str, Any], flow_ui: Any) -> dict[str, str]:
        """The version to deploy: the latest one if it has this flow, else a new one."""
        versions = self._all(path("/v1/workflows/{}/versions", workflow_id))
        latest = max(versions, key=lambda one: one["version"], default=None)
        if latest is not None:
            released = self._get(path("/v1/workflows/{}/versions/{}", workflow_id, latest["id"]))
            if released["flow"] == flow:
                return {"workflow_id": workflow_id, "workflow_version_id": str(released["id"])}
        drawn = {"flow": flow, **({"flow_ui": flow_ui} if flow_ui is not None else {})}
        self._send("POST", path("/v1/workflows/{}/save", workflow_id), drawn)
        number = latest["version"] + 1 if latest is not None else 1
        released = self._create(
            path("/v1/workflows/{}/release", workflow_id), {"name": f"v{number}", **drawn}, check=False
        )
        return {"workflow_id": workflow_id, "workflow_version_id": str(released["id"])}

    def base_ids(self, names: Iterable[str]) -> Mapping[str, str]:
        """Ids by name; an id stands for itself. Raises StoaError for a name that no base has or several have."""
        asked = [name for name in names if not _is_id(name)]
        found = _by_name(self._mine(self._all("/v1/knowledgebases"))) if asked else {}
        for name in asked:
            if len(found.get(name, ())) != 1:
                raise StoaError(f"{len(found.get(name, ()))} knowledge bases are named {name}; it must be one.")
        return {name: str(found[name][0]["id"]) for name in asked}

    def _app(self, app: Mapping[str, Any]) -> Mapping[str, Any]:
        """The app, with the flow that it runs."""
        version = self._get(path("/v1/workflows/{}/versions/{}", app["workflow_id"], app["workflow_version_id"]))
        return {**app, "flow": version.get("flow"), "access": app["access_control"]["access_type"]}

    # --- calls ------------------------------------------------------------------------------------------------------
    def _mine(self, found: list[Any]) -> list[Any]:
        return [one for one in found if one.get("project_id", self.project_id) == self.project_id]

    def _all(self, where: str) -> list[Any]:
        found: list[Any] = []
        page, pages = 1, 1
        while page <= pages:
            sign = "&" if "?" in where else "?"
            answer = self._transport.json(request("GET", f"{where}{sign}page={page}&page_size={PAGE_SIZE_MAX}"))
            found += answer["data"]
            page, pages = page + 1, answer["pagination"]["page_count"]
        return found

    def _get(self, where: str) -> Any:
        return self._transport.json(request("GET", where))["data"]

    def _send(self, method: str, where: str, body: Mapping[str, Any]) -> Any:
        return self._transport.json(request(method, where, body))

    def _create(self, where: str, body: Mapping[str, Any], *, check: bool = True) -> Any:
        """The Idempotency-Key is a hash of the content, so two commands that apply the same files at once create one
        object. If the server's stored answer names an object that was deleted since, it creates another one."""
        content = json.dumps([where, body], sort_keys=True)
        for key in (uuid.uuid5(uuid.NAMESPACE_URL, content), uuid.uuid4()):
            call = request("POST", where, body, {"Idempotency-Key": str(key)})
            made = self._transport.json(call)["data"]
            if not check or self._is_there(where, str(made["id"])):
                return made
        raise StoaError(f"What was made at {where} is gone at once; somebody else deletes it.")

    def _is_there(self, where: str, made: str) -> bool:
        single = "/v1/knowledgebase-sources" if where.endswith("/sources") else where
        try:
            self._get(path(f"{single}/{{}}", made))
        except NotFoundError:
            return False
        return True


def _shown(wanted: Mapping[str, Any]) -> dict[str, Any]:
    body = {"description": wanted["description"]} if "description" in wanted else {}
    return body | ({"access_control": {"access_type": wanted["access"]}} if "access" in wanted else {})


def _by_name(found: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    named: dict[str, list[Mapping[str, Any]]] = {}
    for one in found:
        named.setdefault(str(one["name"]), []).append(one)
    return named


def _bases_of(value: Any) -> list[Any]:
    if isinstance(value, dict):
        here = value.get("knowledge_bases")  # pyright: ignore[reportUnknownMemberType]
        below = [base for one in value.values() for base in _bases_of(one)]  # pyright: ignore[reportUnknownVariableType]
        return [*(here if isinstance(here, list) else []), *below]  # pyright: ignore[reportUnknownVariableType]
    return [base for one in value for base in _bases_of(one)] if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
