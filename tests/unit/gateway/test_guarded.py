"""What a tenant names is called at public addresses alone, at every call: nothing reaches a private one, by address or
by name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing

import pytest

from stoa.embedding import EmbedderError, RemoteEmbedder
from stoa.embedding.reranking import RemoteReranker, RerankerError
from stoa.gateway.providers.transport import Timeouts, Transport, TransportError
from stoa.outbound import Outbound
from tests.support.listening import Listener

HOSTS = ("127.0.0.1", "localhost")


class Inside:
    """A service on a private address that counts who comes."""

    def __init__(self) -> None:
        self.port = 0
        self.visits = 0

    async def serve(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


@pytest.fixture
async def inside() -> AsyncIterator[Inside]:
    found = Inside()
    async with Listener(found.serve) as listener:
        found.port = listener.port
        yield found


async def status(transport: Transport, url: str) -> int:
    with closing(await transport.post(url, {}, b"{}", Timeouts())) as reply:
        return reply.status


@pytest.mark.parametrize("host", HOSTS)
async def test_models(inside: Inside, host: str) -> None:
    url = f"http://{host}:{inside.port}/v1/chat/completions"
    guarded = Transport(outbound=Outbound())
    with pytest.raises(TransportError, match="STOA_ALLOW_PRIVATE_ADDRESSES"):
        await status(guarded, url)
    assert inside.visits == 0
    own = Transport()
    assert await status(own, url) == 404
    assert inside.visits == 1
    await own.close()
    await guarded.close()


@pytest.mark.parametrize("host", HOSTS)
async def test_embedders_and_rerankers(inside: Inside, host: str) -> None:
    url = f"http://{host}:{inside.port}/v1"
    with pytest.raises(EmbedderError) as refused:
        await RemoteEmbedder(url, "m", None, outbound=Outbound()).embed(["text"])
    assert refused.value.code == "embedder_unreachable"
    with pytest.raises(RerankerError) as refused_too:
        await RemoteReranker(url, "m", None, outbound=Outbound()).rerank("query", ["text"])
    assert refused_too.value.code == "reranker_unreachable"
    assert inside.visits == 0
    with pytest.raises(EmbedderError):
        await RemoteEmbedder(url, "m", None).embed(["text"])
    with pytest.raises(RerankerError):
        await RemoteReranker(url, "m", None).rerank("query", ["text"])
    assert inside.visits >= 2
