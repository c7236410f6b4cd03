"""The campaign behind PgBouncer in transaction mode. Connections that need a session bypass it, through a separate
proxy for each node. PgBouncer is killed too, and all of its connections to the database are reset."""

import asyncio
from typing import Final

from tests.support.crashes.campaign import NODES, Field
from tests.support.nodes import BlockableProxy
from tests.support.poolers import Pooler

POOLED: Final = {
    "pooler_killed": 2,
    "pooler_cut": 2,
    "reset": 2,
    "partition": 2,
    "kill": 2,
    "freeze": 1,
    "drain": 1,
    "database": 1,
}
"""`reset` and `partition` affect only connections that bypass the pooler."""
CONFIGURATION: Final = """
[databases]
stoa = host={host} port={port} dbname=stoa

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = 0
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = 8
max_client_conn = 1000
server_connect_timeout = 5
server_login_retry = 1
query_wait_timeout = 10
"""


class PooledField(Field):
    async def _open_database(self) -> list[str]:
        await super()._open_database()
        assert self._embedded is not None
        self.ways = [await self._stack.enter_async_context(BlockableProxy(self._embedded.dsn)) for _ in range(NODES)]
        self._back = await self._stack.enter_async_context(BlockableProxy(self._embedded.dsn))
        home = self.home.with_name(f"{self.home.name}-pgbouncer")
        host, port = self._back.address
        users = home / "users.txt"
        self._pooler = Pooler(home, CONFIGURATION.format(host=host, port=port, users=users))
        users.write_text('"stoa" ""\n')
        users.chmod(0o644)
        self._stack.push_async_callback(self._pooler.kill)
        await self._pooler.start()
        return [f"postgresql://stoa@127.0.0.1:{self._pooler.port}/stoa"] * NODES

    def settings_of(self, place: int) -> dict[str, str]:
        way = self.ways[place]
        assert way is not None
        return {"STOA_DATABASE_SESSION_URL": way.dsn}

    async def _pooler_killed(self) -> None:
        await self._pooler.kill()
        await asyncio.sleep(self.dice.uniform(0, 2))
        await self._pooler.start()

    async def _pooler_cut(self) -> None:
        self._back.cut()
