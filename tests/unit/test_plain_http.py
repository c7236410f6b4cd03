"""The plain client of tests: it reads what a server sends, and asks again only what was not read."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest

from tests.support.listening import Listener
from tests.support.plain_http import PlainClient

OK = b"HTTP/1.1 200 OK\r\n"


@asynccontextmanager
async def server(*connections: Sequence[bytes]) -> AsyncGenerator[tuple[PlainClient, list[bytes]]]:
    """Each connection gives its answers in turn, then it is closed; also what was asked, whole."""
    left, asked = list(connections), list[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in left.pop(0):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            asked.append(head + await reader.readexactly(length))
            writer.write(answer)
        writer.close()

    async with (
        asyncio.timeout(10),
        Listener(serve) as listener,
        PlainClient(f"http://127.0.0.1:{listener.port}") as client,
    ):
        yield client, asked


async def test_each_way_of_ending_a_body_is_read() -> None:
    answers = [
        OK + b"content-length: 2\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\nhi",
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n6;x=1\r\n there\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        OK + b"content-length: 9\r\n\r\n",
        OK + b"\r\nto the end",
    ]
    async with server(answers) as (client, asked):
        first = await client.request("POST", "/a?b=c", [(b"X-A", b"\xe9")], b"body")
        assert (first.status, first.reason, first.content) == (200, "OK", b"hi")
        assert first.headers == {"content-length": ["2"], "set-cookie": ["a", "b"]}
        assert (await client.request("GET", "/")).content == b"hi there"
        assert (await client.request("DELETE", "/")).content == b""
        assert (await client.request("HEAD", "/")).content == b""
        assert (await client.request("GET", "/")).content == b"to the end"
        assert asked[0].startswith(b"POST /a?b=c HTTP/1.1\r\nhost: 127.0.0.1:")
        assert asked[0].endswith(b"\r\ncontent-length: 4\r\nX-A: \xe9\r\n\r\nbody")


async def test_a_kept_connection_that_was_closed_is_opened_anew() -> None:
    one = OK + b"content-length: 0\r\n\r\n"
    async with server([one], [one]) as (client, asked):
        for _ in range(2):
            assert (await client.request("GET", "/")).status == 200
        assert len(asked) == 2


async def test_an_answer_that_is_cut_off_is_an_error() -> None:
    async with server([OK + b"content-length: 9\r\n\r\nhi"], [OK]) as (client, asked):
        for _ in range(2):
            with pytest.raises(EOFError):
                await client.request("GET", "/")
        assert len(asked) == 2, "neither was asked again"
