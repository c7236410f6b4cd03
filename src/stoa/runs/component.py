"""Builds the write side: this node, the service that starts runs, and the worker that executes them."""

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stoa.apps import AppGate
from stoa.callbacks import Callbacks
from stoa.db import Moved
from stoa.db.node import Node
from stoa.db.node import checks as node_checks
from stoa.http.component import Component, Kit, Started
from stoa.http.hosts import HostKind
from stoa.http.shortcut import Shortcut
from stoa.journal import Journal
from stoa.kernel.leases import Places
from stoa.kernel.principal import Principal
from stoa.memory import Recalling
from stoa.runs.agent.knowledge import Library
from stoa.runs.agent.ports import ResourceTools
from stoa.runs.api import OpenStream, routes
from stoa.runs.checks import checks
from stoa.runs.context import Context
from stoa.runs.driving import OpenTools
from stoa.runs.exported import EXPORTED
from stoa.runs.graphs import Graphs
from stoa.runs.host import AppRuns, Reading, host_routes
from stoa.runs.invoke import figure_routes, invoke_routes
from stoa.runs.metrics import RunMetrics, polls
from stoa.runs.ports import (
    AppProjects,
    CheckRequirements,
    FindModel,
    Flows,
    Models,
    Published,
    Trials,
    Uploads,
    Writing,
)
from stoa.runs.recording import Recorder
from stoa.runs.revocation import Living, Policy, Revocation
from stoa.runs.service import Runs
from stoa.runs.socket import socket_routes
from stoa.runs.testing import testing_routes
from stoa.runs.wire import SendMessageBody
from stoa.runs.worker import Worker
from stoa.tools import Sandbox


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeComponent(Component):
    node: Node


@asynccontextmanager
async def open_node(
    kit: Kit, reconnect: Sequence[Callable[[Moved | None], None]], interrupt: Callable[[], None]
) -> AsyncGenerator[NodeComponent]:
    """Started before every worker, because a claim names the node that holds the lease.

    `reconnect` is called when connections to the database may be dead without an error, `interrupt` when this node's
    lease has run out and other nodes may have its runs.
    """
    node = Node(kit.dsn, kit.ids, kit.clock)
    node.reconnect, node.on_lapsed = list(reconnect), interrupt
    yield NodeComponent(node=node, checks=node_checks(), metrics=node.metrics(), background=[node])


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsComponent(Component):
    runs: Runs
    worker: Worker


@asynccontextmanager
async def open_component(
    kit: Kit,
    node: Node,
    journal: Journal,
    models: Models,
    context: Context,
    *,
    find_model: FindModel,
    open_tools: OpenTools,
    resource_tools: ResourceTools,
    flows: Flows,
    library: Library,
    writing: Writing,
    open_stream: OpenStream,
    admit_stream: Callable[[Principal], None],
    is_operators_model: Callable[[str], object],
    app_gate: AppGate,
    app_projects: AppProjects,
    callbacks: Callbacks,
    recalling: Recalling,
    check_requirements: CheckRequirements,
    uploads: Uploads,
    published: Published,
    trials: Trials,
    reading: Reading,
    living: Living,
    revoked: Policy,
    sandbox: Sandbox | None,
    runs_max: int,
    runs_per_project_max: int | None,
    drain_seconds_max: float,
    origins: Collection[str],
    public_url: str | None,
) -> AsyncGenerator[RunsComponent]:
    metrics = RunMetrics(is_operators_model)
    service = Runs(kit.database, journal, models, kit.ids, kit.clock, kit.schemas, metrics, callbacks, recalling)
    recorder = Recorder(kit.database, journal, kit.clock, node.id, metrics, recalling)
    worker = Worker(
        kit.database,
        journal,
        service,
        recorder,
        node,
        context,
        find_model,
        open_tools,
        Graphs(flows, find_model, context, library, kit.schemas, resource_tools, sandbox, writing),
        places=Places(runs_max, runs_per_project_max),
        schemas=kit.schemas,
        resource_tools=resource_tools,
        revocation=Revocation(kit.database, living, revoked),
        metrics=metrics,
    )
    service.owner = worker
    context.earlier_calls = service.calls_of_earlier_answers
    router = routes(service, kit.gate, open_stream, admit_stream, lambda: worker.draining)
    app_runs = AppRuns(service, uploads, reading, app_projects, callbacks, check_requirements, lambda: worker.draining)
    yield RunsComponent(
        runs=service,
        exported=EXPORTED,
        worker=worker,
        routers={
            HostKind.API: [
                router,
                invoke_routes(app_runs, app_projects, kit.gate),
                testing_routes(app_runs, trials, kit.gate),
                figure_routes(app_runs, app_projects, uploads, published, kit.gate, kit.clock, public_url),
            ],
            HostKind.APP: [host_routes(app_runs, uploads, app_gate), socket_routes(app_runs, app_gate, origins)],
        },
        around={
            HostKind.API: lambda app: Shortcut(
                app,
                router,
                kit.gate,
                "/v3/conversations/{conversation_id}/messages",
                "conversation_id",
                SendMessageBody,
                "conversations:write",
            )
        },
        checks=checks(kit.database),
        metrics=[*metrics.metrics(), *worker.metrics()],
        polls=polls(),
        channels={"stoa_runs": worker.on_notification},
        background=[Started(start=worker.start)],
        vital=[worker.heartbeat],
        after_gap=[worker.wake],
        drain=[lambda: worker.drain(drain_seconds_max)],
    )
