"""What a stranger answers is read within limits: bombs, bodies and heads without end cost a bounded memory."""

import asyncio
import gzip
import resource
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress

import aiohttp
import pytest

from stoa.outbound import Outbound
from stoa.outbound.client import BodyError, client, parse_json, read_bounded, read_json
from tests.support.listening import Listener

MIB = 1024 * 1024


class Service:
    """Answers with what it is given, piece after piece."""

    def __init__(self) -> None:
        self.url = ""
        self.head = b""
        self.piece = b""
        self.times = 1

    async def serve(self, incoming: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await incoming.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n" + self.head)
            for _ in range(self.times):
                writer.write(self.piece)
                await writer.drain()
        writer.close()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    async with Listener(made.serve) as listener:
        made.url = f"http://127.0.0.1:{listener.port}"
        yield made


async def read(service: Service, bytes_max: int) -> bytes:
    async with (
        asyncio.timeout(20),
        client(Outbound(allow_private=True)) as session,
        session.get(service.url) as response,
    ):
        return await read_bounded(response, bytes_max)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw deflate"])
async def test_a_bomb_is_unpacked_up_to_its_limit(service: Service, encoding: str) -> None:
    zeros = bytes(400 * MIB)
    made = zlib.compressobj(9, wbits={"gzip": 31, "deflate": 15, "raw deflate": -15}[encoding])
    service.piece = made.compress(zeros) + made.flush()
    del zeros
    service.head = f"content-encoding: {encoding.rsplit(maxsplit=1)[-1]}\r\n\r\n".encode()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(await read(service, MIB)) == MIB + 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024


async def test_a_body_without_end_is_left(service: Service) -> None:
    service.head, service.piece, service.times = b"\r\n", bytes(65536), 1_000_000
    assert len(await read(service, MIB)) == MIB + 1


@pytest.mark.parametrize("head", [b"x: " + b"y" * 40_000_000 + b"\r\n\r\n", b"x: y\r\n" * 100_000 + b"\r\n"])
async def test_a_head_without_end_is_refused(service: Service, head: bytes) -> None:
    service.head = head
    with pytest.raises(aiohttp.ClientError):
        await read(service, MIB)


async def test_a_large_header_is_no_reason_to_fail(service: Service) -> None:
    service.head, service.piece = b"Content-Security-Policy: " + b"x" * 30_000 + b"\r\n\r\n", b"body"
    assert await read(service, MIB) == b"body"


async def test_packed_bodies_are_read(service: Service) -> None:
    service.head = b"content-encoding: gzip\r\n\r\n"
    service.piece = gzip.compress(b"one ") + gzip.compress(b"two")
    assert await read(service, MIB) == b"one two"
    service.piece = gzip.compress(b"cut" * 1_000)[:-10]
    with pytest.raises(BodyError, match="ends in the middle"):
        await read(service, MIB)
    service.piece = b"no gzip"
    with pytest.raises(BodyError, match="says that it is gzip"):
        await read(service, MIB)
    service.head = b"content-encoding: br\r\n\r\n"
    with pytest.raises(BodyError, match="packed as br"):
        await read(service, MIB)


async def test_json_that_would_unfold_is_refused(service: Service) -> None:
    service.head, service.piece = b"\r\n", b"[" + b"[]," * 2_000_000 + b"[]]"
    async with client(Outbound(allow_private=True)) as session, session.get(service.url) as response:
        with pytest.raises(BodyError, match="more parts"):
            await read_json(response, 8 * MIB)
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    for wrong in (b"", b"<html>", b"[" * 100_000):
        with pytest.raises(BodyError):
            parse_json(wrong)
