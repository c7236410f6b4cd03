"""One run in many dialects, built."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from stoa.dialects.responses.api import response_routes
from stoa.dialects.responses.conversations import ItemConversations
from stoa.dialects.responses.conversations_api import conversation_routes
from stoa.dialects.responses.service import Responses
from stoa.dialects.starting import Beginning, ModelOf
from stoa.dialects.worker import Sweeper
from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind
from stoa.streams import Streams

__all__ = ["Beginning", "open_component"]


@asynccontextmanager
async def open_component(
    kit: Kit, beginning: Beginning, streams: Streams, default_model: ModelOf
) -> AsyncGenerator[Component]:
    responses = Responses(beginning, streams)
    conversations = ItemConversations(beginning.conversations, responses, beginning.runs, default_model)
    yield Component(
        routers={
            HostKind.ROUTER: [
                response_routes(responses, streams.admit, kit.gate),
                conversation_routes(conversations, kit.gate),
            ],
        },
        background=[Sweeper(beginning.runs, beginning.conversations)],
    )
