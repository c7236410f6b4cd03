"""A burst of new clients gets in though the loop has much else to do."""

import asyncio
import os
import socket

import pytest

from stoa.cli.listening import ACCEPTED_PER_TURN, BACKLOG, StartError, bind, doors

uvloop = pytest.importorskip("uvloop")
CLIENTS = 20 * ACCEPTED_PER_TURN


async def turns_until_all_are_in() -> int:
    """How often the loop turns before it has taken so many connections that wait already."""
    listening, seen, turns = bind("127.0.0.1", 0), [], 0

    class Connection(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            seen.append(transport)

    loop = asyncio.get_running_loop()
    address = listening.getsockname()
    servers = [await loop.create_server(Connection, sock=door, backlog=BACKLOG) for door in doors(listening)]
    clients = [socket.create_connection(address) for _ in range(CLIENTS)]
    async with asyncio.timeout(10):
        while len(seen) < CLIENTS:
            turns += 1
            await asyncio.sleep(0)
    for client in clients:
        client.close()
    for server in servers:
        server.close()
    return turns


async def test_several_new_connections_are_taken_in_one_turn() -> None:
    turns = await asyncio.to_thread(uvloop.run, turns_until_all_are_in())
    assert turns <= CLIENTS / ACCEPTED_PER_TURN * 1.5 + 2


def test_a_socket_that_processes_share_never_blocks() -> None:
    listening = bind("127.0.0.1", 0)
    inherited = socket.socket(fileno=os.dup(listening.fileno()))  # As a worker is handed it.
    opened = doors(inherited)
    try:
        assert not os.get_blocking(listening.fileno())
    finally:
        for one in (listening, *opened):
            one.close()


def test_what_cannot_be_listened_on_names_the_way_out() -> None:
    taken = bind("127.0.0.1", 0)
    try:
        with pytest.raises(StartError, match="Choose another port"):
            bind("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(StartError, match="Choose an address of this machine"):
            bind("192.0.2.1", 0)
    finally:
        taken.close()
