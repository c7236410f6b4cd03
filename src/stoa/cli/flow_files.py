"""Reads files with a flow: our own format, and the YAML of the platform's library (`connections, prompts, nodes, flows,
workflows`). Pure: takes text, returns a flow and the tools that it needs.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from stoa.cli import flow_states, flow_stores

BYTES_MAX: Final = 2_000_000
INPUT: Final = "dynamiq.nodes.utils.Input"
OUTPUT: Final = "dynamiq.nodes.utils.Output"
SERVER_NAME_MAX: Final = 32
NAME_MAX: Final = 64
_REFERENCE: Final = re.compile(r"\$\{([^{}]+)\}")
_ENVIRONMENT: Final = "oc.env:"
_DEPTH_MAX: Final = 50
_HTTP: Final = "HttpApiCall"
_MCP: Final = ("MCPServer", "MCPTool")


class FileError(Exception):
    """The file cannot be deployed. The message names the path inside the file."""


@dataclass(frozen=True, slots=True)
class FlowFile:
    """The content of a file. `tools` are bodies of POST /v1/tools; `bases` are names of knowledge bases, whose ids
    replace `flow_stores.reference(name)` in the flow; `notes` say what works differently on this server."""

    name: str
    flow: Mapping[str, Any]
    tools: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[str] = ()
    bases: Sequence[str] = ()


@dataclass
class _Reading:
    """The state of reading a platform's file."""

    connections: Mapping[str, Any]
    prompts: Mapping[str, Any]
    raw: Mapping[str, Any]
    """The connections before their references are resolved."""
    tools: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    notes: list[str] = field(default_factory=list[str])
    bases: list[str] = field(default_factory=list[str])

    def note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


def read(text: str, environment: Mapping[str, str], workflow: str | None = None) -> FlowFile:
    """Raises FileError. `workflow` selects one of several."""
    if len(text) > BYTES_MAX:
        raise FileError(f"The file is larger than {BYTES_MAX} characters.")
    import yaml  # noqa: PLC0415 — for files alone

    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FileError(f"The file is no YAML: {str(error).partition(chr(10))[0]}") from error
    if not isinstance(raw, dict):
        raise FileError("The file holds no object: want nodes, flows and workflows, or agent.")
    given = cast("dict[str, Any]", raw)
    data = cast("dict[str, Any]", _resolved(given, given, environment, 0))
    if "agent" in data:
        return FlowFile(slug(str(data.pop("name", "app"))), {"agent": data["agent"]})
    if isinstance(data.get("nodes"), list):
        return FlowFile(slug(str(data.get("name") or data.get("id") or "app")), data)
    return _platform(data, given, workflow)


def _platform(data: Mapping[str, Any], raw: Mapping[str, Any], workflow: str | None) -> FlowFile:
    chosen = _one(_part(data, "workflows"), "workflow", workflow)
    flow_id = str(_part(data, "workflows")[chosen].get("flow"))
    flow = _part(data, "flows").get(flow_id)
    if not isinstance(flow, Mapping):
        raise FileError(f"workflows.{chosen}.flow is {flow_id!r}, which is no flow of the file.")
    reading = _Reading(_part(data, "connections"), _part(data, "prompts"), _part(raw, "connections"))
    known = _part(data, "nodes")
    nodes: list[dict[str, Any]] = []
    for node_id in cast("Mapping[str, Any]", flow).get("nodes") or ():
        if not isinstance(known.get(node_id), Mapping):
            raise FileError(f"flows.{flow_id}.nodes names {node_id!r}, which is no node of the file.")
        node = {"id": node_id, **known[node_id]}
        path = f"nodes.{node_id}"
        agents = flow_states.as_agents(node) if flow_states.is_orchestrator(str(node.get("type", ""))) else None
        if agents is not None:
            reading.note(f"{path}: its states follow one another, so they are agents joined by edges here.")
        nodes += [_node(one, path, reading) for one in ([node] if agents is None else agents)]
    made: dict[str, Any] = {"id": flow_id, "nodes": _with_ends(nodes)}
    if isinstance(workers := cast("Mapping[str, Any]", flow).get("max_node_workers"), int):
        made["max_node_workers"] = workers
    return FlowFile(slug(chosen), made, list(reading.tools.values()), reading.notes, reading.bases)


def _part(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = data.get(name) or {}
    if not isinstance(part, Mapping):
        raise FileError(f"{name} must be an object.")
    return cast("Mapping[str, Any]", part)


def _one(found: Mapping[str, Any], what: str, wanted: str | None) -> str:
    if wanted is not None and wanted not in found:
        raise FileError(f"The file has no {what} {wanted!r}; it has {', '.join(found) or 'none'}.")
    if wanted is None and len(found) != 1:
        raise FileError(f"The file has {len(found)} {what}s ({', '.join(found)}); choose one with --{what}.")
    return wanted or next(iter(found))


# --- references -----------------------------------------------------------------------------------------------------
def _resolved(value: Any, root: Mapping[str, Any], environment: Mapping[str, str], depth: int) -> Any:
    """The value with `${oc.env:NAME}`, `${oc.env:NAME,default}` and `${other.key}` replaced."""
    if depth > _DEPTH_MAX:
        raise FileError("The file's references go round in a circle, or it is nested too deeply.")
    if isinstance(value, dict):
        return {
            str(name): _resolved(one, root, environment, depth + 1)
            for name, one in cast("dict[Any, Any]", value).items()
        }
    if isinstance(value, list):
        return [_resolved(one, root, environment, depth + 1) for one in cast("list[Any]", value)]
    if not isinstance(value, str):
        return value
    if whole := _REFERENCE.fullmatch(value):
        return _referred(whole[1], root, environment, depth)
    return _REFERENCE.sub(lambda found: str(_referred(found[1], root, environment, depth)), value)


def _referred(name: str, root: Mapping[str, Any], environment: Mapping[str, str], depth: int) -> Any:
    if name.startswith(_ENVIRONMENT):
        variable, comma, default = name.removeprefix(_ENVIRONMENT).partition(",")
        if variable.strip() in environment:
            return environment[variable.strip()]
        return default.strip() if comma else f"${{{name}}}"  # Reported as missing where it is needed.
    found: Any = root
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            raise FileError(f"${{{name}}} refers to nothing in the file.")
        found = cast("Mapping[str, Any]", found)[part]
    return _resolved(found, root, environment, depth + 1)


# --- nodes ----------------------------------------------------------------------------------------------------------
def _node(given: Mapping[str, Any], path: str, reading: _Reading) -> dict[str, Any]:
    """A node in a flow's format: without connections, with its prompt inlined."""
    node = {name: value for name, value in given.items() if value is not None}
    kind = str(node.get("type", "")).rsplit(".", 1)[-1]
    if flow_stores.is_store(str(node.get("type", ""))):
        return _store(node, path, reading)
    if any(node.pop(name, None) for name in ("converters", "fallback_converter")):
        reading.note(f"{path}: files are read by this server's own readers, whatever converters it names.")
    connection = node.pop("connection", None)
    if isinstance(prompt := node.get("prompt"), str):
        if prompt not in reading.prompts:
            raise FileError(f"{path}.prompt is {prompt!r}, which is no prompt of the file.")
        node["prompt"] = reading.prompts[prompt]
    for name in ("llm", "node", "agent_factory", "agent"):
        if isinstance(node.get(name), Mapping):
            node[name] = _node(node[name], f"{path}.{name}", reading)
    if isinstance(tools := node.get("tools"), list):
        node["tools"] = [
            _node(cast("Mapping[str, Any]", one), f"{path}.tools[{index}]", reading)
            if isinstance(one, Mapping)
            else one
            for index, one in enumerate(cast("list[Any]", tools))
        ]
    _memory(node, reading)
    if node.pop("fallback", None):
        reading.note(f"{path}: a fallback model is not used here.")
    if kind == _HTTP:
        _http_tool(node, path, connection, reading)
    elif kind in _MCP:
        _mcp_tool(node, kind, path, connection, reading)
    elif connection is not None:
        reading.note(
            "Models are those of the server (its providers, and POST /v1/connections); keys of a file's connections are"
            " not used."
        )
    return node


def _memory(node: dict[str, Any], reading: _Reading) -> None:
    memory = node.get("memory")
    backend = memory.get("backend") if isinstance(memory, Mapping) else None
    if backend is not None and not (isinstance(backend, Mapping) and backend.get("memory_id")):
        node["memory"] = True
        reading.note("An agent's memory is the conversation of its session here; its backend is not used.")


def _store(node: dict[str, Any], path: str, reading: _Reading) -> dict[str, Any]:
    if (base := flow_stores.as_base(node)) is None:
        return node
    if base not in reading.bases:
        reading.bases.append(base)
    reading.note(
        f"{path}: its vector store is the knowledge base {base!r} here, which embeds texts with an embedder of its own;"
        " what the store held is not moved."
    )
    return node


def _connection(path: str, named: Any, reading: _Reading) -> tuple[str, Mapping[str, Any], Mapping[str, Any]]:
    """(id, the connection, the connection before its references were resolved)"""
    if isinstance(named, Mapping):
        inline = cast("Mapping[str, Any]", named)
        return str(inline.get("id", "")), inline, inline
    if not isinstance(named, str) or not isinstance(reading.connections.get(named), Mapping):
        raise FileError(f"{path}.connection is {named!r}, which is no connection of the file.")
    raw = reading.raw.get(named)
    return named, reading.connections[named], cast("Mapping[str, Any]", raw) if isinstance(raw, Mapping) else {}


def _http_tool(node: dict[str, Any], path: str, named: Any, reading: _Reading) -> None:
    """Turns the node into a reference, by name, to a tool of the project, and adds that tool."""
    _, connection, raw = _connection(path, named, reading)
    url = str(node.pop("url", "") or connection.get("url") or "")
    method = str(node.pop("method", "") or connection.get("method") or "GET").upper()
    if not url:
        raise FileError(f"{path} has no url, and neither has its connection.")
    static = {**(connection.get("data") or {}), **(node.pop("data", None) or {})}
    if static and "depends" not in node and "input_transformer" not in node:
        raise FileError(f"{path} sends data with each call, which a tool here does not; describe it to the agent.")
    if static:
        transformer = node.setdefault("input_transformer", {})
        transformer["selector"] = {"data": static, **(transformer.get("selector") or {})}
    properties: dict[str, Any] = {"params": {"type": "object", "description": "Query parameters."}}
    places: dict[str, Any] = {"params": {"in": "query"}}
    if method not in ("GET", "DELETE"):
        properties["data"] = {"type": "object", "description": "The body, as JSON."}
        places["data"] = {"in": "body"}
    secrets: dict[str, str] = {}
    query = {**(connection.get("params") or {}), **(node.pop("params", None) or {})}
    headers = {**(connection.get("headers") or {}), **(node.pop("headers", None) or {})}
    config = {
        "method": method,
        "url": url,
        "headers": _hidden("header", headers, secrets, everything=True),
        "query": _hidden("query", query, secrets, raw=raw.get("params") or {}),
        "parameters": {"type": "object", "properties": properties},
        "places": places,
    }
    name = tool_name(str(node.get("name") or node["id"]))
    about = str(node.get("description") or f"Calls {url}.")[:4_000]
    seconds = node.pop("timeout", None)
    tool: dict[str, Any] = {
        "name": name,
        "type": "http",
        "description": about,
        "config": config,
        "idempotent": method == "GET",
    }
    if isinstance(seconds, int | float):
        tool["timeout_seconds"] = min(max(float(seconds), 0.1), 600.0)
    reading.tools[name] = tool | ({"secrets": secrets} if secrets else {})


def _mcp_tool(node: dict[str, Any], kind: str, path: str, named: Any, reading: _Reading) -> None:
    connection_id, connection, _ = _connection(path, named, reading)
    title = str(node.get("name") or node["id"]) if kind == _MCP[0] else connection_id or str(node["id"])
    name = tool_name(title)[:SERVER_NAME_MAX].strip("_")
    node["name" if kind == _MCP[0] else "server"] = name
    secrets: dict[str, str] = {}
    config: dict[str, Any]
    if url := connection.get("url"):
        headers = _hidden("header", connection.get("headers") or {}, secrets, everything=True)
        config = {"url": str(url), **({"headers": headers} if headers else {})}
    else:
        config = {"server": name}
        reading.note(
            f"{path}: its MCP server is a program ({connection.get('command')!r}), which only the server's operator may"
            f" declare, in stoa.toml, by the name {name!r}."
        )
    about = str(node.get("description") or f"The MCP server {title}.")[:4_000]
    reading.tools[name] = {"name": name, "type": "mcp", "description": about, "config": config} | (
        {"secrets": secrets} if secrets else {}
    )


def _hidden(
    what: str,
    values: Mapping[str, Any],
    secrets: dict[str, str],
    *,
    everything: bool = False,
    raw: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """A tool's values. Those from the environment, or with `everything` all that may be credentials, become secrets."""
    shown: dict[str, str] = {}
    for name, value in values.items():
        if everything or _ENVIRONMENT in str((raw or {}).get(name, "")):
            secret = re.sub(r"[^A-Za-z0-9_-]+", "_", f"{what}_{name}")
            secrets[secret] = str(value)
            shown[name] = f"{{{{secret.{secret}}}}}"
        else:
            shown[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return shown


def _with_ends(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adds an Input node before the first nodes and an Output node after the last ones, if the file has none: the
    library needs neither."""
    kinds = [str(one.get("type", "")) for one in nodes]
    taken = {str(one["id"]) for one in nodes}
    made = [dict(one) for one in nodes]
    if INPUT not in kinds:
        start = _free("input", taken)
        for one in made:
            one["depends"] = one.get("depends") or [{"node": start}]
        made.insert(0, {"id": start, "type": INPUT})
    if OUTPUT not in kinds:
        waited = {
            str(edge.get("node")) for one in made for edge in one.get("depends") or () if isinstance(edge, Mapping)
        }
        last = [{"node": one["id"]} for one in made if one["id"] not in waited]
        made.append({"id": _free("output", taken), "type": OUTPUT, "depends": last})
    return made


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "-"
    taken.add(name)
    return name


# --- names ----------------------------------------------------------------------------------------------------------
def slug(text: str) -> str:
    """A valid name of a workflow: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:128].strip("-") or "app"


def tool_name(title: str) -> str:
    """The name by which the server finds a node's tool."""
    return re.sub(r"[^A-Za-z0-9-]+", "_", title).strip("_")[:NAME_MAX] or "tool"
