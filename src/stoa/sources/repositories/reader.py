"""The git process: it fetches a repository, lists its files and reads them, one command after another, until its parent
ends it.

Packs come from strangers. They are unpacked here, within limits of memory, processor time and file size, and never in
the server. Commands are JSON lines on the descriptor named in the first argument; each is answered by one JSON line on
standard output.
"""

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import socket
import stat
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
import urllib3
from dulwich.client import HttpGitClient, HTTPUnauthorized
from dulwich.errors import GitProtocolError, HangupException, NotGitRepository
from dulwich.object_store import iter_tree_contents
from dulwich.objects import Blob, Commit, ObjectID, Tag
from dulwich.refs import Ref
from dulwich.repo import Repo
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from stoa.kernel.confinement import die_with_parent
from stoa.outbound import AddressRefused, Outbound, OutboundError

BATCH: Final = 500
SILENT_SECONDS_MAX: Final = 60.0
PACKS_MAX: Final = 50
"""The limit of packs. Each fetch may add one; above the limit the clone is made again, with one pack."""
PACK_BYTES_MAX: Final = 2 * 2**30
MEMORY_BYTES_MAX: Final = 4 * 2**30
"""The limit of address space: packs are mapped into memory."""
PROCESSOR_SECONDS_MAX: Final = 1_800


class ReaderError(Exception):
    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code, self.message, self.retryable = code, message, retryable


# --- the guarded way out ----------------------------------------------------------------------------------------------
class _GuardedConnections:
    """Outbound connections of this process. `failure` is why one failed, because dulwich and urllib3 wrap our error in
    theirs."""

    outbound = Outbound()
    failure: OutboundError | None = None


def _connect(connection: HTTPConnection, *, tls: bool) -> socket.socket:
    try:
        sock = asyncio.run(_GuardedConnections.outbound.connect(connection.host, connection.port or 443, tls=tls))
    except OutboundError as error:
        _GuardedConnections.failure = error
        raise
    sock.settimeout(SILENT_SECONDS_MAX)
    return sock


class _PlainConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self, tls=False)


class _SafeConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self, tls=True)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection  # pyright: ignore[reportAssignmentType]  — as below


class _SafePool(HTTPSConnectionPool):
    ConnectionCls = _SafeConnection  # pyright: ignore[reportAssignmentType]  — the protocol it names is narrower than its own class


def _pools() -> urllib3.PoolManager:
    pools = urllib3.PoolManager(
        retries=urllib3.Retry(total=5, connect=0, read=0, status=0, other=0, redirect=5),
        ssl_context=_GuardedConnections.outbound.tls(),
    )
    classes: dict[str, type[HTTPConnectionPool | HTTPSConnectionPool]] = {"http": _PlainPool, "https": _SafePool}
    pools.pool_classes_by_scheme = classes
    return pools


# --- the repository
# -----------------------------------------------------------------------------------------------------
class Reader:
    def __init__(self, job: Mapping[str, Any]) -> None:
        self._repo, self.commit = self._opened(job)
        commit = self._commit(ObjectID(self.commit.encode()))
        self.commit = commit.id.decode()
        self._files = islice(iter_tree_contents(self._repo.object_store, commit.tree), job["skip"], None)

    def _opened(self, job: Mapping[str, Any]) -> tuple[Repo, str]:
        branch: str | None = job["branch"]
        if job["path"] is not None:
            repo = _open(Path(job["path"]))
            return repo, job["commit"] or _chosen(repo.get_refs(), branch).decode()
        home = Path(job["home"])
        if job["commit"] is not None:
            return Repo(str(home)), job["commit"]
        repo = _clone(home)
        return repo, _fetch(repo, job["url"], branch, job["username"], job["token"])

    def _commit(self, sha: ObjectID) -> Commit:
        found = self._repo[sha]
        while isinstance(found, Tag):
            found = self._repo[found.object[1]]
        if not isinstance(found, Commit):
            raise ReaderError("branch_not_found", "The branch or tag is no commit.")
        return found

    def list(self) -> Mapping[str, Any]:
        """The next files as [path in hex, blob]; a path is bytes, and may not be valid text. Links and submodules are
        left out.
        """
        batch = list(islice(self._files, BATCH))
        files = [[one.path.hex(), one.sha.decode()] for one in batch if stat.S_ISREG(one.mode)]
        return {"files": files, "seen": len(batch), "end": len(batch) < BATCH}

    def read(self, blob: str, target: str, bytes_max: int) -> int:
        found = self._repo[ObjectID(blob.encode())]
        assert isinstance(found, Blob)
        size = sum(map(len, found.chunked))
        if size > bytes_max:
            raise ReaderError("too_large", "The file is over the limit.")
        with Path(target).open("wb") as file:
            file.writelines(found.chunked)
        return size


def _open(path: Path) -> Repo:
    try:
        return Repo(str(path))
    except NotGitRepository as error:
        raise ReaderError("origin_not_found", f"{path} is no git repository.") from error


def _clone(home: Path) -> Repo:
    try:
        repo = Repo(str(home))
        if len(list((home / "objects" / "pack").glob("*.pack"))) <= PACKS_MAX:
            return repo
        repo.close()
    except (NotGitRepository, OSError, ValueError, KeyError):
        pass  # There is no clone yet, or its node died while making it.
    shutil.rmtree(home, ignore_errors=True)
    return Repo.init_bare(str(home), mkdir=True)


def _fetch(repo: Repo, url: str, branch: str | None, username: str | None, token: str | None) -> str:
    parts = urlsplit(url)
    client = HttpGitClient(
        f"{parts.scheme}://{parts.netloc}/",
        pool_manager=_pools(),
        username=(username or "git") if token else None,
        password=token,
        quiet=True,
        timeout=SILENT_SECONDS_MAX,
    )
    wanted: list[ObjectID] = []

    def determine_wants(refs: Mapping[Ref, ObjectID], depth: int | None = None) -> list[ObjectID]:  # noqa: ARG001 — the library names it
        wanted[:] = [_chosen(refs, branch)]
        return [] if wanted[0] in repo.object_store else wanted

    try:
        client.fetch(parts.path.lstrip("/"), repo, determine_wants, depth=1)
    except HTTPUnauthorized as error:
        raise ReaderError(
            "credentials_refused", f"{parts.hostname} wants another credential for this repository."
        ) from error
    except NotGitRepository as error:
        raise ReaderError(
            "origin_not_found", f"There is no repository at {url}, or the credential may not see it."
        ) from error
    except (GitProtocolError, HangupException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        if isinstance(_GuardedConnections.failure, AddressRefused):
            raise ReaderError("address_refused", str(_GuardedConnections.failure)) from error
        if _GuardedConnections.failure is not None:
            raise ReaderError("origin_unreachable", str(_GuardedConnections.failure), retryable=True) from error
        if " 403 " in str(error):
            raise ReaderError(
                "credentials_refused", f"{parts.hostname} does not let this repository be read."
            ) from error
        raise ReaderError(
            "origin_unreachable", f"{url} cannot be fetched: {str(error)[:300] or type(error).__name__}", retryable=True
        ) from error
    return wanted[0].decode()


def _chosen(refs: Mapping[Ref, ObjectID], branch: str | None) -> ObjectID:
    names = [b"HEAD"] if branch is None else [f"refs/heads/{branch}".encode(), f"refs/tags/{branch}".encode()]
    for name in names:
        if found := refs.get(Ref(name)):
            return found
    what = f"branch or tag {branch}" if branch is not None else "commit yet"
    raise ReaderError("branch_not_found", f"The repository has no {what}.")


# --- commands ---------------------------------------------------------------------------------------------------------
def answers(commands: Iterator[bytes]) -> Iterator[Mapping[str, Any]]:
    reader: Reader | None = None
    for line in commands:
        command = orjson.loads(line)
        try:
            match command["do"]:
                case "open":
                    _GuardedConnections.outbound = Outbound.of_json(command["outbound"])
                    reader = Reader(command)
                    yield {"commit": reader.commit}
                case "list":
                    assert reader is not None
                    yield reader.list()
                case "read":
                    assert reader is not None
                    yield {"size": reader.read(command["blob"], command["to"], command["bytes_max"])}
                case other:
                    raise AssertionError(other)
        except ReaderError as error:
            yield {"error": {"code": error.code, "message": error.message, "retryable": error.retryable}}
        except (KeyError, ValueError, OSError, MemoryError) as error:
            yield {
                "error": {
                    "code": "origin_failed",
                    "message": f"The repository cannot be read: {type(error).__name__}.",
                    "retryable": False,
                }
            }


def confine() -> None:
    """Limits that this system does not support are skipped; the parent enforces a deadline in any case."""
    for name, value in (
        ("RLIMIT_AS", MEMORY_BYTES_MAX),
        ("RLIMIT_FSIZE", PACK_BYTES_MAX),
        ("RLIMIT_CPU", PROCESSOR_SECONDS_MAX),
        ("RLIMIT_CORE", 0),
    ):
        with contextlib.suppress(ValueError, OSError, AttributeError):
            resource.setrlimit(getattr(resource, name), (value, value))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # The write over the limit then fails with EFBIG.


def main(descriptor: str, parent: str) -> None:
    die_with_parent(int(parent))
    confine()
    with os.fdopen(int(descriptor), "rb") as commands, os.fdopen(1, "wb") as output:
        for answer in answers(iter(commands)):
            output.write(orjson.dumps(answer) + b"\n")
            output.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
