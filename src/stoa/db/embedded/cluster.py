"""The cluster: created once by initdb, configured anew at each start."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from stoa.db.durable import sync_directory
from stoa.db.embedded.account import Account
from stoa.db.embedded.errors import OWN_DATABASE, EmbeddedError, from_output
from stoa.db.embedded.places import Places, write_whole
from stoa.db.embedded.programs import MAJOR, Programs

ROLE: Final = "stoa"
CONNECTIONS_MAX: Final = 100
"""The default number of connections."""

CLEAN_ENVIRONMENT: Final = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}
"""The server gets none of our environment: no PGDATA, no PGPORT, no API key."""

_CONTROL_GROUP: Final = Path("/sys/fs/cgroup/memory.max")


def _shared_buffers_mb() -> int:
    """An eighth of the memory, from 128 to 512 MB: a knowledge base of 100,000 chunks is searched through 350 MB of
    vectors, graph and postings.

    Unused memory is not allocated, so a small base costs nothing.
    """
    held = 1024
    with contextlib.suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf.
        held = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    with contextlib.suppress(ValueError, OSError):  # "max" is not a number: no limit.
        held = min(held, int(_CONTROL_GROUP.read_text()) >> 20)
    return max(128, min(512, held // 8))


# Shared memory of parallel workers: posix memory is in /dev/shm, which has 64 MB in a container, too little for a
# parallel index build; macOS allows almost no sysv memory.
CONFIGURATION: Final = f"""\
# Written by Stoa at each start. To change a setting for good use ALTER SYSTEM, which wins over this file.

cluster_name = 'stoa'
max_connections = {{connections_max}}
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'

# Memory: the working set of one box, with room for the rest of it. Large amounts only while an index is built.
shared_buffers = {_shared_buffers_mb()}MB
maintenance_work_mem = 256MB         # a vector index that does not fit is built much slower
autovacuum_work_mem = 64MB
wal_buffers = 16MB                   # the journal writes in bursts, one COPY per tick
dynamic_shared_memory_type = {"sysv" if sys.platform == "linux" else "posix"}

# Reading ahead is left to the kernel: it saves the three I/O processes (9 MB) that wait for large cold scans.
io_method = sync

# Durable before visible. These are the defaults; they stand here because everything rests on them.
fsync = on
synchronous_commit = on
full_page_writes = on

# Write-ahead log: one node, no standby, so no more than a crash needs; rare and slow checkpoints keep commits even.
wal_level = minimal
max_wal_senders = 0
max_replication_slots = 0
max_logical_replication_workers = 0
max_wal_size = 2GB
min_wal_size = 128MB
checkpoint_timeout = 15min
checkpoint_completion_target = 0.9

# Small tables that change all the time (runs, leases, jobs) are swept before they bloat; costs little when idle.
autovacuum_naptime = 15s
autovacuum_vacuum_scale_factor = 0.05
autovacuum_analyze_scale_factor = 0.05

# Statements are short: compiling them never pays.
jit = off

# Warnings and worse; routine messages would only fill the disk.
log_min_messages = warning
log_checkpoints = off
log_autovacuum_min_duration = -1
log_line_prefix = '%m [%p] %d '
"""


def check_version(cluster: Path) -> None:
    """Raises EmbeddedError unless the cluster is complete and of our version."""
    marker = cluster / "PG_VERSION"
    if not marker.is_file():
        raise EmbeddedError(
            f"{cluster} is there but holds no PostgreSQL database. Stoa will not touch it: bring back what was in it, "
            f"or move it away to start with an empty database."
        )
    version = marker.read_text().strip()
    if version != str(MAJOR):
        raise EmbeddedError(
            f"The database in {cluster} was made by PostgreSQL {version}; this Stoa runs PostgreSQL {MAJOR}, which "
            f"cannot open it. Dump it with the Stoa that made it and load the dump into a new STOA_DATA_DIR, "
            f"{OWN_DATABASE}."
        )


async def create_cluster(programs: Programs, account: Account, places: Places, deadline: float) -> None:
    """Runs initdb in a temporary directory, and renames it to the cluster's name when it is complete and on disk.

    Call with the gate locked: it first removes the remains of an interrupted initdb.
    """
    fresh = await asyncio.to_thread(_make_room, account, places)
    command = [programs.program("initdb"), "--pgdata", str(fresh), "--username", ROLE, "--encoding", "UTF8"]
    # The built-in C.UTF-8 maps the case of all letters and sorts by code point, without the system's locales.
    command += ["--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
    command += ["--auth-local", "peer", "--auth-host", "reject", "--no-instructions"]
    status, output = await _run(command, account, deadline)
    if status != 0:
        await asyncio.to_thread(shutil.rmtree, fresh, ignore_errors=True)
        raise from_output("PostgreSQL could not create its database", places.base, output)
    await asyncio.to_thread(_put_in_place, fresh, places)


def write_configuration(account: Account, places: Places, connections_max: int) -> None:
    """The three files that PostgreSQL reads from base. They belong to us, so the account cannot change who may
    connect."""
    write_whole(places.configuration, CONFIGURATION.format(connections_max=connections_max))
    write_whole(places.hba, "local all all peer map=stoa\n")
    name = account.launcher.replace('"', '""')
    write_whole(places.ident, f'stoa "{name}" all\n')


def sweep(places: Places) -> None:
    """Removes the remains of interrupted runs of initdb. Call with the gate locked."""
    for leftover in places.base.glob("cluster.new-*"):
        # The initdb of a killed Stoa may still be writing there; it fails, and the next start removes the rest.
        shutil.rmtree(leftover, ignore_errors=True)


def _make_room(account: Account, places: Places) -> Path:
    sweep(places)
    fresh = places.base / f"cluster.new-{secrets.token_hex(4)}"
    fresh.mkdir(mode=0o700)
    account.give(fresh)
    return fresh


def _put_in_place(fresh: Path, places: Places) -> None:
    fresh.rename(places.cluster)
    sync_directory(places.base)


async def _run(command: list[str], account: Account, deadline: float) -> tuple[int, str]:
    """Runs a program to its end; kills its process group at the timeout or when cancelled."""
    process = _spawn(command, account)
    listening = asyncio.create_task(asyncio.to_thread(process.communicate))
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            output, _ = await asyncio.shield(listening)
    except TimeoutError:
        raise EmbeddedError(f"{Path(command[0]).name} did not finish in time; the disk may be overloaded.") from None
    finally:
        if not listening.done():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await listening  # Ends at once now and reaps the process.
    return process.returncode, output


def _spawn(command: list[str], account: Account) -> "subprocess.Popen[str]":
    return subprocess.Popen(  # noqa: S603 - our own programs, by absolute path
        command,
        cwd="/",
        env=CLEAN_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        umask=0o077,
        start_new_session=True,
        **account.as_account(),
    )
