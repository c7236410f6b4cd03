"""The postmaster as a process: starting, recognising and stopping it. Its state is read from its `postmaster.pid`."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stoa.db.embedded.account import Account
from stoa.db.embedded.cluster import CLEAN_ENVIRONMENT
from stoa.db.embedded.places import Places
from stoa.db.embedded.programs import Programs

POLL_SECONDS: Final = 0.01
READY: Final = "ready"

LOG_BYTES_MAX: Final = 10 * 1024 * 1024
"""One file of this size and the one before it are kept."""
_LOG_TAIL_BYTES: Final = 16 * 1024

_STOP_AT_ONCE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class PidFile:
    """A parsed `postmaster.pid`. `status` is `starting`, `ready` or `stopping`; empty in the first moments."""

    pid: int
    socket_dir: Path
    status: str


def read_pid_file(cluster: Path) -> PidFile | None:
    """None when there is none, or when it is still being written."""
    try:
        lines = (cluster / "postmaster.pid").read_text(errors="replace").splitlines()
        pid = int(lines[0])
    except (OSError, ValueError, IndexError):
        return None
    if pid <= 1:
        return None
    return PidFile(pid, Path(lines[4] if len(lines) > 4 else ""), lines[7].strip() if len(lines) > 7 else "")


def remove_pid_file(cluster: Path) -> None:
    """For a file whose process is not a postmaster of this cluster (the number was reused, or it is a zombie).

    PostgreSQL would refuse to start. If a process of the old server is still alive, its shared memory makes the new one
    refuse anyway.
    """
    (cluster / "postmaster.pid").unlink(missing_ok=True)


def remove_socket_locks(sockets: Path) -> None:
    """The lock beside a socket names its postmaster; PostgreSQL takes a zombie of that number for a living one.

    Call with the gate locked, and only if no postmaster of this cluster is alive.
    """
    for lock in sockets.glob(".s.PGSQL.*.lock"):
        try:
            pid = int(lock.read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            continue
        if is_gone(pid):
            lock.unlink(missing_ok=True)


def is_postmaster(pid: int, account: Account, cluster: Path) -> bool:
    """Whether the process lives, is a `postgres`, the account's, and (if we may look) works in the cluster."""
    name, state, uid = _describe(pid)
    if name != "postgres" or uid != account.uid:
        return False
    if state.startswith("Z"):
        _reap(pid)
        return False
    try:
        return Path(f"/proc/{pid}/cwd").samefile(cluster)
    except OSError:
        return True


def is_gone(pid: int) -> bool:
    """Whether a process known to be (or to have been) a postmaster has ended, reaped or not.

    In a container without an init process orphans become children of Stoa itself, so we may have to reap them.
    """
    _reap(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return sys.platform == "linux" and _describe(pid)[1] in {"", "Z"}


def spawn(programs: Programs, account: Account, places: Places, sockets: Path) -> int:
    """Starts a postmaster and returns its process id at once; it is not ready yet.

    It gets its own session: a Ctrl-C in our terminal is for Stoa, which needs its database to the end. Mandatory
    settings are on the command line, where nothing can override them.
    """
    must = {
        "config_file": str(places.configuration),
        "hba_file": str(places.hba),
        "ident_file": str(places.ident),
        "listen_addresses": "",
        "unix_socket_directories": '"' + str(sockets).replace('"', '""') + '"',
        "unix_socket_permissions": "0700",
    }
    command = [programs.program("postgres"), "-D", str(places.cluster)]
    for name, value in must.items():
        command += ["-c", f"{name}={value}"]
    log = os.open(places.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)  # it quotes statements that failed
    try:
        process = subprocess.Popen(  # noqa: S603 - our own programs, by absolute path
            command,
            cwd="/",
            env=CLEAN_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            umask=0o077,
            start_new_session=True,
            **account.as_account(),
        )
    finally:
        os.close(log)
    # We only keep the process id and monitor it ourselves: the server may outlive this process, which Popen reports as
    # a leak.
    process.returncode = 0
    return process.pid


def end_orphans(account: Account, cluster: Path) -> None:
    """Kills the backends of a killed postmaster; crash recovery rolls back their transactions.

    Call with the gate held and the postmaster known to be dead. Where the system does not show the processes'
    directories (macOS, a restricted container), we can only wait until they are done.
    """
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        with contextlib.suppress(OSError):
            if (entry / "cwd").samefile(cluster) and _describe(pid)[::2] == ("postgres", account.uid):
                os.kill(pid, signal.SIGQUIT)


async def stop(pid: int, timeout_seconds: float) -> bool:
    """Fast shutdown: disconnects clients and writes a checkpoint. At the deadline an immediate one, which needs
    recovery.

    False when the process is still there at the end.
    """
    for what, seconds in ((signal.SIGINT, timeout_seconds), (signal.SIGQUIT, _STOP_AT_ONCE_SECONDS)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, what)
        if await wait_gone(pid, time.monotonic() + seconds):
            return True
    return False


async def wait_gone(pid: int, deadline: float) -> bool:
    """True when the process has ended before the deadline."""
    while not is_gone(pid):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


def rotate_log(log: Path) -> None:
    """Limits the size of the log. PostgreSQL appends to an open file, so it is copied and truncated, never renamed."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_BYTES_MAX:
            shutil.copy(log, log.with_name(f"{log.name}.1"))
            os.truncate(log, 0)


def empty_log(log: Path) -> None:
    """Truncates the log."""
    log.with_name(f"{log.name}.1").unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.truncate(log, 0)


def log_size(log: Path) -> int:
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0


def log_since(log: Path, offset: int) -> str:
    """The end of what was logged after `offset`."""
    try:
        with log.open("rb") as file:
            file.seek(max(offset, log_size(log) - _LOG_TAIL_BYTES))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _describe(pid: int) -> tuple[str, str, int]:
    """(program, state, user) of a process, from the kernel; ("", "", -1) when there is none."""
    if sys.platform == "linux":
        try:
            text = Path(f"/proc/{pid}/status").read_text(errors="replace")
        except OSError:
            return "", "", -1
        fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        return fields.get("Name", ""), fields.get("State", "")[:1], int(fields.get("Uid", "-1").split()[0])
    command = ["/bin/ps", "-o", "stat=,uid=,ucomm=", "-p", str(pid)]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - an absolute path
    words = listed.stdout.split(None, 2)
    return (words[2].strip(), words[0][:1], int(words[1])) if len(words) == 3 else ("", "", -1)
