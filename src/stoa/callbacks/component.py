"""Builds the slice: the service of callbacks, and the worker that sends them."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from stoa.callbacks import rules
from stoa.callbacks.api import routes
from stoa.callbacks.ports import Reports, Vault
from stoa.callbacks.service import Callbacks
from stoa.callbacks.worker import CallbackWorker, polls
from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind
from stoa.outbound import Outbound
from stoa.outbound.posting import Poster

CONNECTIONS_MAX: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbacksComponent(Component):
    callbacks: Callbacks


@asynccontextmanager
async def open_component(
    kit: Kit, node_id: UUID, vault: Vault, reports: Reports, *, outbound: Outbound
) -> AsyncGenerator[CallbacksComponent]:
    async with AsyncExitStack() as stack:
        post = Poster(outbound, connections_max=CONNECTIONS_MAX, seconds_max=rules.POST_SECONDS_MAX)
        stack.push_async_callback(post.close)
        callbacks = Callbacks(kit.database, vault, kit.ids, allow_private=outbound.allow_private)
        worker = CallbackWorker(kit.database, callbacks, reports, post, vault, kit.clock, node_id)
        yield CallbacksComponent(
            callbacks=callbacks,
            routers={HostKind.API: [routes(callbacks, kit.gate)]},
            metrics=worker.metrics(),
            polls=polls(),
            channels={"stoa_callbacks": worker.on_notification},
            background=[worker],
            heartbeats=[worker.heartbeat],
            after_gap=[worker.wake],
        )
