"""Builds the slice: requirements of workflows, connect tokens, and the credentials that runs use."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind
from stoa.outbound import Outbound
from stoa.requirements.api import connect_routes, owner_routes
from stoa.requirements.exchanging import Exchanger
from stoa.requirements.exported import EXPORTED
from stoa.requirements.host import AppGate, host_routes
from stoa.requirements.page import page_routes
from stoa.requirements.ports import Vault
from stoa.requirements.service import Requirements
from stoa.requirements.tokens import ConnectTokens
from stoa.requirements.user_credentials import UserCredentialSource


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementsComponent(Component):
    lending: UserCredentialSource


@asynccontextmanager
async def open_component(
    kit: Kit, vault: Vault, app_gate: AppGate, *, outbound: Outbound, domain: str, public_url: str | None
) -> AsyncGenerator[RequirementsComponent]:
    async with AsyncExitStack() as stack:
        exchange = Exchanger(outbound)
        stack.push_async_callback(exchange.close)
        requirements = Requirements(
            kit.database, vault, exchange, kit.ids, kit.clock, allow_private=outbound.allow_private
        )
        tokens = ConnectTokens(kit.secret, kit.clock)
        yield RequirementsComponent(
            lending=UserCredentialSource(kit.database, vault, exchange, requirements, kit.clock),
            exported=EXPORTED,
            routers={
                HostKind.API: [
                    owner_routes(requirements, kit.gate),
                    connect_routes(requirements, tokens, public_url),
                    page_routes(),
                ],
                HostKind.APP: [host_routes(requirements, tokens, app_gate, domain, public_url)],
            },
        )
