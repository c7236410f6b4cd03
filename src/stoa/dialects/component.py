"""Builds the slice: other APIs' wire formats over runs."""

from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from functools import partial

from stoa.conversations import ItemMessages
from stoa.dialects.a2a.api import Named, a2a_routes
from stoa.dialects.a2a.service import Tasks
from stoa.dialects.agui.api import agui_routes
from stoa.dialects.completions.api import Resumable, completion_routes
from stoa.dialects.responses.api import response_routes
from stoa.dialects.responses.conversations import ItemConversations
from stoa.dialects.responses.conversations_api import conversation_routes
from stoa.dialects.responses.service import Responses
from stoa.dialects.responses.socket import socket_routes
from stoa.dialects.starting import Beginning, ModelOf
from stoa.dialects.threads import Threads
from stoa.dialects.ui_messages.api import ui_message_routes
from stoa.dialects.worker import Sweeper
from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind
from stoa.streams import Streams

__all__ = ["Beginning", "open_component"]


@asynccontextmanager
async def open_component(
    kit: Kit, beginning: Beginning, streams: Streams, default_model: ModelOf, named: Named, origins: Collection[str]
) -> AsyncGenerator[Component]:
    responses, messages = Responses(beginning, streams), ItemMessages(kit.database, kit.ids)
    conversations = ItemConversations(beginning.conversations, messages, responses, beginning.runs, default_model)
    threads = Threads(beginning)
    yield Component(
        routers={
            HostKind.ROUTER: [
                response_routes(responses, streams.admit, kit.gate),
                socket_routes(responses, streams, kit.gate, origins),
                conversation_routes(conversations, kit.gate),
                completion_routes(beginning, streams, kit.gate),
            ],
            HostKind.API: [
                agui_routes(threads, streams, kit.gate),
                ui_message_routes(threads, streams, kit.gate),
                a2a_routes(Tasks(beginning, streams, threads), named, streams.admit, kit.gate),
            ],
        },
        around={HostKind.ROUTER: partial(Resumable, gate=kit.gate)},
        background=[Sweeper(beginning.runs, beginning.conversations)],
    )
