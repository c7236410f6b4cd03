"""Connects the slices that handle flows: apps store them, runs execute them, conversations try them out."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from stoa import apps, conversations, gateway, runs
from stoa.db.idempotency import IdempotencyKey
from stoa.kernel.errors import BadRequest
from stoa.kernel.principal import Principal


class FlowGraphs:
    """The port of apps for graphs: whether a flow is a graph, what it uses, which types of nodes exist."""

    def __init__(self, *, sandbox: bool = False) -> None:
        self._sandbox = sandbox

    async def read(self, flow: Mapping[str, Any]) -> apps.Reading:
        return await asyncio.to_thread(self._read, flow)

    def node_types(self) -> Sequence[apps.NodeKind]:
        return [
            apps.NodeKind(one.name, one.group, one.title, one.description, one.schema.model_json_schema())
            for one in runs.NODE_TYPES.values()
            if one.refused is None and (self._sandbox or not one.sandboxed)
        ]

    def _read(self, flow: Mapping[str, Any]) -> apps.Reading:
        graph = runs.read_graph(flow)
        if problems := {**runs.pipeline_problems(graph), **runs.code_problems(graph, sandbox=self._sandbox)}:
            raise BadRequest("; ".join(f"{path} {why}" for path, why in problems.items()), details=problems)
        nodes = [
            apps.NodeNeeds(one.key, one.node.title, needs.model, needs.tools, needs.bases, needs.references)
            for one in graph.everywhere()
            for needs in [one.node.needs()]
        ]
        return apps.Reading(nodes, runs.advice(graph))


class FlowTrials:
    """Test runs of flows, each in its own conversation."""

    def __init__(self, workflows: apps.Workflows, catalogue: gateway.Catalogue) -> None:
        self._workflows = workflows
        self._catalogue = catalogue
        self.conversations: conversations.Conversations | None = None
        """Set once it exists: conversations are built after the runs that they cancel."""

    async def prepare(
        self,
        principal: Principal,
        project_id: UUID | None,
        flow: Mapping[str, Any],
        fields: Mapping[str, Any],
        once: IdempotencyKey | None,
    ) -> runs.Trial:
        found = await self._workflows.runnable(principal, project_id, flow)
        held = self.conversations
        assert held is not None, "requests are taken after everything is built"
        inside = replace(principal, project_id=found.project_id)
        made = await held.create(
            inside,
            model_id=found.models.agent or self._catalogue.default.id,
            org_id=None,
            title="Test of a workflow",
            user_id=None,
            metadata=None,
            agent=found.agent,
            once=replace(once, key=f"{once.key}#conversation") if once else None,
        )
        workflow = {"flow": flow, "models": found.models.nodes} if found.agent is None else None
        return runs.Trial(inside, made.id, runs.GraphStart(fields, workflow))
