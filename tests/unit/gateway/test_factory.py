"""A local server of models that nobody named: found when it is there, and told quickly when it is not."""

import asyncio
import socket

import pytest

from stoa.gateway import ModelFactory, Provider, ProviderError
from stoa.gateway.types import Endpoint
from stoa.outbound import Outbound
from tests.support.listening import Listener

LIST = b'{"data": [{"id": "llama3.2"}]}'


def looked_for(port: int) -> Provider:
    suppliers = ModelFactory(pace=lambda: 0.0, outbound=Outbound(allow_private=True))
    return suppliers.provider("ollama", Endpoint("ollama", f"http://127.0.0.1:{port}"), None, optional=True)


async def test_a_running_local_server_is_asked_for_its_models() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:  # Somebody looked whether anything listens here.
            writer.close()
            return
        assert head.startswith(b"GET /v1/models ")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
            % (len(LIST), LIST)
        )
        await writer.drain()
        writer.close()

    async with Listener(answer) as listener:
        offers = await looked_for(listener.port).offers()
    assert [offer.wire_name for offer in offers] == ["llama3.2"]


async def test_a_missing_local_server_is_reported() -> None:
    with socket.socket() as taken:  # Bound, and not listening: nobody else can be there.
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ProviderError, match="listens"):
            await looked_for(taken.getsockname()[1]).offers()
