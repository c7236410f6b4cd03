"""Test servers leave no connection behind, whenever a client comes."""

import asyncio
import gc
import socket

import pytest

from tests.support.listening import Listener


@pytest.fixture(scope="module", autouse=True)
def settled_memory() -> None:
    """The collector need not go through what was there before, which takes a second for each test."""
    gc.collect()
    gc.freeze()


@pytest.mark.parametrize("turns", range(5))
async def test_a_connection_that_comes_while_the_server_closes_is_closed(turns: int) -> None:
    """With the garbage collector's report of one that is not, this test fails."""

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with Listener(serve) as listener:
        client = socket.create_connection(("127.0.0.1", listener.port))
        for _turn in range(turns):
            await asyncio.sleep(0)
    client.close()
    gc.collect()
