"""Resolves what a flow needs in its project: the checked agent, models, tools, knowledge bases."""

from collections.abc import Mapping
from typing import Any, cast

from stoa.apps.ports import Definitions, Graphs
from stoa.apps.types import Models, Reading
from stoa.kernel.errors import BadRequest
from stoa.kernel.principal import Principal

_SHOWN_MAX = 20
"""Missing objects of a flow that are named at once."""


class Resolver:
    def __init__(self, definitions: Definitions, graphs: Graphs) -> None:
        self._definitions = definitions
        self._graphs = graphs

    async def agent(self, principal: Principal, flow: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The checked definition of a shorthand's agent; None for a graph, whose nodes are checked. Raises BadRequest
        naming each bad node."""
        if (named := shorthand(flow)) is not None:
            return await self._definitions.checked_agent(principal, named)
        await self._graphs.read(flow)
        return None

    async def models(self, principal: Principal, flow: Mapping[str, Any]) -> Models:
        """The flow's models in the present catalogue; its tools and bases must exist too. Raises BadRequest naming the
        node."""
        if (named := shorthand(flow)) is not None:
            await self._definitions.checked_agent(principal, named)  # Its tools and bases may have been deleted since.
            slug = named.get("model")
            return Models(await self._model(principal, "flow.agent.model", slug, [slug] if slug else []), {})
        reading = await self._graphs.read(flow)
        problems = await self.missing(principal, reading)
        if problems:
            raise BadRequest("; ".join(f"{path} {why}" for path, why in problems.items()), details=problems)
        nodes = {}
        for one in reading.nodes:
            if one.models is not None:
                slug = one.models[0] if one.models else None
                found = await self._model(principal, f"flow.nodes.{one.key}.model", slug, one.models)
                nodes[one.key] = str(found)
        return Models(None, nodes)

    async def missing(self, principal: Principal, reading: Reading) -> Mapping[str, str]:
        """The objects that a graph names and its project lacks, by node."""
        tools = list(dict.fromkeys(name for one in reading.nodes for name in one.tools))
        bases = list(dict.fromkeys(base_id for one in reading.nodes for base_id in one.bases))
        no_tools = set(await self._definitions.unknown_tools(principal, tools)) if tools else set()
        no_bases = set(await self._definitions.unknown_bases(principal, bases)) if bases else set()
        others = list(dict.fromkeys(reference for one in reading.nodes for reference in one.references))
        no_others = set(await self._definitions.unknown_references(principal, others)) if others else set()
        problems: dict[str, str] = {}
        for one in reading.nodes:
            named = [f"the tool {name!r}" for name in one.tools if name in no_tools]
            named += [f"the knowledge base {base_id}" for base_id in one.bases if base_id in no_bases]
            named += [f"the {kind.replace('_', ' ')} {its_id}" for kind, its_id in one.references
                      if (kind, its_id) in no_others]  # fmt: skip
            if named and len(problems) < _SHOWN_MAX:
                problems[f"flow.nodes.{one.key}"] = (
                    f"(node {one.title!r}) names {', '.join(named)}, which this project does not have"
                )
        return problems

    async def _model(self, principal: Principal, path: str, name: Any, slugs: Any) -> Any:
        found = await self._definitions.model(principal, slugs)
        if found is None:
            raise BadRequest.field(path, f"is {name!r}, which is no model here; GET /v1/router/models lists them")
        return found


def shorthand(flow: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The agent of a flow `{"agent": {…}}`, which stands for Input → Agent → Output; None for a graph. Raises
    BadRequest."""
    if "agent" not in flow:
        return None
    agent = flow["agent"]
    if not isinstance(agent, Mapping) or "nodes" in flow:
        raise BadRequest.field("flow.agent", "must be an object, and stand for the whole flow, without nodes")
    return cast("Mapping[str, Any]", agent)
