"""Two real PostgreSQL servers, the second a synchronous standby of the first, and the operations of a failover manager:
it promotes the standby, fences the old primary, and makes it the standby of the new one."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import asyncpg
import psutil

from stoa.db.embedded.account import Account, choose_account
from stoa.db.embedded.programs import Programs, find_programs, reachable_programs
from tests.support.nodes import BlockableProxy

USER = "stoa"
START_SECONDS_MAX = 60.0
CONFIGURATION = """\
listen_addresses = ''
unix_socket_directories = '{folder}'
port = {port}
max_connections = 200
shared_buffers = 64MB
dynamic_shared_memory_type = sysv
io_method = sync
jit = off
timezone = 'UTC'
lc_messages = 'C'
fsync = off                       # a process may die in these tests, the machine does not
wal_level = replica
max_wal_senders = 5
wal_keep_size = 256MB
wal_receiver_timeout = 5s
wal_sender_timeout = 5s
wal_retrieve_retry_interval = 200ms
hot_standby = on
synchronous_commit = on
autovacuum_naptime = 15s
log_min_messages = warning
include_if_exists = '{folder}/standbys.conf'
"""


@dataclass
class Server:
    """One server in a directory of its own. Everybody connects to it through `way`, the standby too."""

    name: str
    folder: Path
    programs: Programs
    account: Account
    port: int
    way: BlockableProxy = field(init=False)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.account.give(self.folder)
        self.way = BlockableProxy(self.dsn("stoa"))

    @property
    def cluster(self) -> Path:
        return self.folder / "cluster"

    def dsn(self, database: str) -> str:
        """The DSN that bypasses the proxy, for the manager."""
        return f"postgresql://{USER}@/{database}?host={self.folder}&port={self.port}"

    def run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.programs.program(program), *arguments],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
            **self.account.as_account(),
        )
        assert done.returncode == 0, f"{program}: {done.stdout} {done.stderr}"

    def create(self) -> None:
        self.run("initdb", "-D", str(self.cluster), "-U", USER, "-E", "UTF8", "--locale=C", "-A", "trust", "-N")
        self.configure()

    def configure(self) -> None:
        """Its own directory and port, also in a cluster that was copied from the other one."""
        (self.cluster / "postgresql.conf").write_text(CONFIGURATION.format(folder=self.folder, port=self.port))
        (self.cluster / "pg_hba.conf").write_text("local all all trust\nlocal replication all trust\n")

    def wait_for_standby(self, *, wanted: bool) -> None:
        """Sets whether a commit waits for the standby, from the next reload of the configuration on."""
        (self.folder / "standbys.conf").write_text(f"synchronous_standby_names = '{'*' if wanted else ''}'\n")

    async def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs.program("postgres"), "-D", str(self.cluster)],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
                start_new_session=True,
                **self.account.as_account(),
            )
        await self.until("SELECT true")

    async def until(self, statement: str) -> None:
        """Asks until the answer is true."""
        async with asyncio.timeout(START_SECONDS_MAX):
            while True:
                with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                    if await self.ask(statement):
                        return
                assert self.process is not None
                assert self.process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
                await asyncio.sleep(0.02)

    async def ask(self, statement: str, database: str = "postgres") -> object:
        connection = await asyncpg.connect(self.dsn(database), timeout=5)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    def kill(self) -> None:
        """Kills all of its processes at once: none completes anything."""
        if self.process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            main = psutil.Process(self.process.pid)
            main.suspend()
            for one in [*main.children(recursive=True), main]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
        self.process.wait()
        self.process = None

    async def stop(self) -> None:
        """A clean shutdown: sessions are ended, and the standby gets everything."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        await asyncio.wait_for(asyncio.to_thread(self.process.wait), START_SECONDS_MAX)
        self.process = None

    def follow(self, primary: "Server") -> None:
        """Starts as the standby of the other one."""
        host, port = primary.way.address
        (self.cluster / "standby.signal").touch()
        (self.cluster / "postgresql.auto.conf").write_text(
            f"primary_conninfo = 'host={host} port={port} user={USER} application_name={self.name}'\n"
        )

    def copy(self, primary: "Server") -> None:
        """Becomes a copy of the other one."""
        shutil.rmtree(self.cluster, ignore_errors=True)
        arguments = ["-D", str(self.cluster), "-h", str(primary.folder), "-p", str(primary.port), "-U", USER]
        self.run("pg_basebackup", *arguments, "-X", "stream", "--checkpoint=fast", "--no-sync")
        self.configure()


class Pair:
    """Two servers; `primary` takes writes, `standby` confirms them."""

    def __init__(self, home: Path) -> None:
        home.mkdir(mode=0o755, exist_ok=True)
        self._home = home
        account = choose_account(None, None)
        programs = reachable_programs(find_programs(), account, home)
        self._servers = [Server(name, home / name, programs, account, 5432) for name in ("db1", "db2")]
        self.primary, self.standby = self._servers
        self._stack = contextlib.AsyncExitStack()

    def dsn(self, database: str = "stoa", *, user: str = USER) -> str:
        """Both servers through their proxies, as nodes' settings name them."""
        hosts = ",".join("{}:{}".format(*server.way.address) for server in self._servers)
        return f"postgresql://{user}@{hosts}/{database}?target_session_attrs=read-write"

    async def __aenter__(self) -> Self:
        for server in self._servers:
            self._stack.callback(server.kill)
            await self._stack.enter_async_context(server.way)
        await asyncio.to_thread(self.primary.create)
        self.primary.wait_for_standby(wanted=False)
        await self.primary.start()
        await self.primary.ask("CREATE DATABASE stoa")
        await self.attach()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def attach(self) -> None:
        """Rebuilds the standby from the primary, which from now on waits for it at every commit."""
        self.standby.kill()
        await asyncio.to_thread(self.standby.copy, self.primary)
        await self._join_as_standby()

    async def _join_as_standby(self) -> None:
        self.standby.follow(self.primary)
        self.standby.wait_for_standby(wanted=False)
        self.standby.way.open()
        await self.standby.start()
        await self.primary.until("SELECT count(*) > 0 FROM pg_stat_replication WHERE state = 'streaming'")
        self.primary.wait_for_standby(wanted=True)
        await self.primary.ask("SELECT pg_reload_conf()")
        await self.primary.until("SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state = 'sync'")

    async def promote(self) -> None:
        """The standby accepts writes from now on, alone. The old primary is not asked."""
        await self.standby.ask("SELECT pg_promote(wait_seconds => 60)")
        await self.standby.until("SELECT NOT pg_is_in_recovery()")
        self.primary, self.standby = self.standby, self.primary

    async def switch_over(self) -> None:
        """A planned switchover: the primary shuts down cleanly, the standby is promoted, and the old primary follows
        it."""
        await self.primary.stop()
        await self.promote()
        await self._join_as_standby()
