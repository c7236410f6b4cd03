"""Checks that the objects that an agent's definition names exist."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from stoa.conversations.ports import Agents
from stoa.kernel.errors import BadRequest
from stoa.kernel.principal import Principal
from stoa.kernel.schema_checker import SchemaChecker


async def check_agent(
    agents: Agents, schemas: SchemaChecker, principal: Principal, agent: Mapping[str, Any] | None, path: str = "agent"
) -> None:
    """Raises BadRequest naming the field below `path` if an object of the definition, or of a subagent's, does not
    exist."""
    if agent is None:
        return
    if "output_schema" in agent and (problem := await schemas.schema_problem(agent["output_schema"])):
        raise BadRequest.field(f"{path}.output_schema", problem)
    named = {f"{path}.tools[{index}]": name for index, name in enumerate(agent.get("tools", ()))}
    for number, subagent in enumerate(agent.get("subagents", ())):
        named |= {
            f"{path}.subagents[{number}].tools[{index}]": name for index, name in enumerate(subagent.get("tools") or ())
        }
    unknown = await agents.unknown_tools(principal, sorted(set(named.values()))) if named else ()
    problems = {
        where: f"is {name!r}, which is no tool of this project; GET /v1/tools lists them"
        for where, name in named.items()
        if name in unknown
    }
    base_ids = [UUID(one) for one in agent.get("knowledge_bases", ())]
    missing = await agents.unknown_bases(principal, base_ids) if base_ids else ()
    problems |= {
        f"{path}.knowledge_bases[{index}]": "is no knowledge base of this project; GET /v1/knowledgebases lists them"
        for index, one in enumerate(base_ids)
        if one in missing
    }
    references = _references(agent, path)
    lacking = set(await agents.unknown_references(principal, list(references.values()))) if references else ()
    problems |= {
        where: f"is no {kind.replace('_', ' ')} of this project"
        for where, (kind, its_id) in references.items()
        if (kind, its_id) in lacking
    }
    if problems:
        where, reason = next(iter(problems.items()))
        raise BadRequest(f"{where} {reason}", details=problems)


def _references(agent: Mapping[str, Any], path: str) -> Mapping[str, tuple[str, UUID]]:
    """(kind, id) of memories, memory stores and skills, by the field that names them."""
    found: dict[str, tuple[str, UUID]] = {}
    memory, store = agent.get("memory"), agent.get("memory_store")
    if isinstance(memory, Mapping) and memory.get("memory_id"):
        found[f"{path}.memory.memory_id"] = ("memory", UUID(memory["memory_id"]))
    if store:
        found[f"{path}.memory_store.id"] = ("memory_store", UUID(store["id"]))
    for index, skill in enumerate(agent.get("skills", ())):
        found[f"{path}.skills[{index}].id"] = ("skill", UUID(skill["id"]))
    return found
