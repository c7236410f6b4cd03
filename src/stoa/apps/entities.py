"""The names of an app's parts in the platform's stream (contract section 5), read from its flow. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast
from uuid import UUID

WORKFLOW_TYPE: Final = "dynamiq.workflows.Workflow"
AGENT_TYPE: Final = "dynamiq.nodes.agents.Agent"
EVENT: Final = "data"
"""The default name of a stream's messages."""


@dataclass(frozen=True, slots=True)
class Entity:
    """The source of a message. `everything`: its stream includes reasoning and tool calls, not only the answer."""

    id: str
    name: str
    group: str | None
    type: str
    event: str = EVENT
    everything: bool = False

    def source(self) -> dict[str, str | None]:
        return {"id": self.id, "name": self.name, "group": self.group, "type": self.type}


@dataclass(frozen=True, slots=True)
class Entities:
    """`whole` is the app; `agent` is the default source; `nodes` are those of a graph, by id."""

    whole: Entity
    agent: Entity
    nodes: Mapping[str, Entity] = field(default_factory=dict[str, Entity])


def entities(app_id: UUID, name: str, flow: Mapping[str, Any]) -> Entities:
    """`flow` was checked when its version was released. Invalid streaming settings are ignored."""
    whole = Entity(str(app_id), name, None, WORKFLOW_TYPE)
    if isinstance(flow.get("agent"), Mapping):
        return Entities(whole, Entity(str(app_id), name, "agents", AGENT_TYPE))
    given = flow.get("nodes")
    listed = cast("list[Any]", given) if isinstance(given, list) else []
    nodes = [_entity(cast("Mapping[str, Any]", one)) for one in listed if isinstance(one, Mapping)]
    answering = [one for one in nodes if one.group in ("agents", "llms")]
    return Entities(whole, answering[-1] if answering else whole, {one.id: one for one in nodes})


def _entity(node: Mapping[str, Any]) -> Entity:
    kind, given = str(node.get("type")), node.get("streaming")
    streaming = cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else {}
    event = streaming.get("event")
    return Entity(
        str(node.get("id")),
        str(node.get("name") or node.get("id")),
        _group_of(kind),
        kind,
        event if isinstance(event, str) and event.strip() else EVENT,
        streaming.get("mode") == "all",
    )


def _group_of(kind: str) -> str | None:
    """`agents` of `dynamiq.nodes.agents.Agent`; the platform's retrievers are in a folder of another name."""
    parts = kind.split(".")
    group = parts[2] if len(parts) > 3 else None
    return "retrievers" if group == "knowledgebases" else group
