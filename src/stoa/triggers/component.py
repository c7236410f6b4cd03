"""Triggers, built: what they are, and the worker that starts their runs."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import UUID

from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind
from stoa.triggers.api import hook_routes, routes
from stoa.triggers.exported import EXPORTED
from stoa.triggers.ports import Actors, Runner, Vault
from stoa.triggers.service import Triggers
from stoa.triggers.worker import TriggerWorker, polls


@asynccontextmanager
async def open_component(
    kit: Kit, node_id: UUID, vault: Vault, runner: Runner, actors: Actors, *, public_url: str | None
) -> AsyncGenerator[Component]:
    triggers = Triggers(kit.database, vault, kit.ids, kit.clock)
    worker = TriggerWorker(kit.database, runner, actors, kit.ids, kit.clock, node_id)
    yield Component(
        routers={HostKind.API: [routes(triggers, kit.gate, public_url), hook_routes(triggers)]},
        exported=EXPORTED,
        metrics=worker.metrics(),
        polls=polls(),
        channels={"stoa_triggers": worker.on_notification},
        background=[worker],
        heartbeats=[worker.heartbeat],
        after_gap=[worker.wake],
    )
