"""A git repository, shallow, at one branch. A separate process speaks git (`stoa.sources.repositories.reader`); this
module sends it commands and interprets the answers.

Paths are compared by their blob, git's own hash of a file. It shows without reading the file whether it changed,
whatever happened between two commits, force pushes included. A commit that is present is not fetched again, and a new
one transfers only its new objects.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final
from urllib.parse import unquote, urlsplit

import orjson

from stoa.outbound import Outbound
from stoa.sources import rules
from stoa.sources.configs import GitConfig
from stoa.sources.globs import Globs
from stoa.sources.ports import Remember
from stoa.sources.providers.directory import allowed
from stoa.sources.providers.listing import Listed, changed
from stoa.sources.providers.spool import Spool, too_large
from stoa.sources.types import Failed, Fetched, Finding, NoDocument, SourceError

FETCH_SECONDS_MAX: Final = 900.0
READ_SECONDS_MAX: Final = 120.0
ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024
REAP_SECONDS_MAX: Final = 5.0
_POINTER: Final = b"version https://git-lfs.github.com/spec/"
_ENVIRONMENT: Final = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "MALLOC_ARENA_MAX": "2"}


class _ReaderDied(Exception):
    """The process was killed by its input, or took too long."""


class GitOrigin:
    """`home` is where this node keeps the clone of this source; it may be removed at any time between syncs."""

    def __init__(
        self, config: GitConfig, secrets: Mapping[str, str], home: Path, roots: Sequence[Path], outbound: Outbound
    ) -> None:
        self._config = config
        self._secrets = secrets
        self._home = home
        self._roots = roots
        self._outbound = outbound
        self._globs = Globs(config.include, config.exclude)
        self._process: asyncio.subprocess.Process | None = None
        self._commands: BinaryIO | None = None
        self._scratch = TemporaryDirectory(prefix="stoa-git-")

    async def close(self) -> None:
        await self._end()
        await asyncio.to_thread(self._scratch.cleanup)

    async def walk(self, remember: Remember) -> AsyncGenerator[Finding]:
        commit, seen, ended = await self._open(None, 0), 0, False
        while not ended:
            try:
                listed = await self._ask({"do": "list"}, READ_SECONDS_MAX)
            except _ReaderDied as died:
                raise SourceError("origin_failed", f"The repository cannot be listed: {died}") from died
            seen, ended = seen + listed["seen"], listed["end"]
            paths = [(os.fsdecode(bytes.fromhex(raw)), blob) for raw, blob in listed["files"]]
            files = [Listed(path, {"blob": blob}, blob) for path, blob in paths if self._take(path)]
            async with aclosing(changed(files, remember, partial(self._fetch, commit, seen))) as findings:
                async for finding in findings:
                    yield finding

    def _take(self, path: str) -> bool:
        return (self._config.hidden or not rules.hidden(path)) and self._globs.take_file(path)

    async def _fetch(self, commit: str, seen: int, listed: Listed[str]) -> Finding:
        path, target = listed.origin, Path(self._scratch.name) / "blob"
        try:
            await self._ask(
                {"do": "read", "blob": listed.place, "to": str(target), "bytes_max": rules.ITEM_BYTES_MAX},
                READ_SECONDS_MAX,
            )
        except _ReaderDied as died:
            await self._open(commit, seen)
            return Failed(path, "unreadable", f"The file cannot be read: {died}")
        except SourceError as error:
            message = too_large("The file", rules.ITEM_BYTES_MAX) if error.code == "too_large" else error.message
            return Failed(path, error.code, message)
        return await asyncio.to_thread(self._found, path, target, commit, listed.state)

    def _found(self, path: str, target: Path, commit: str, state: Mapping[str, Any]) -> Finding:
        with target.open("rb") as file, Spool(rules.ITEM_BYTES_MAX) as spool:
            while piece := file.read(1024 * 1024):
                if spool.empty and piece.startswith(_POINTER):  # Git LFS: the content is stored elsewhere.
                    return NoDocument(path, state)
                spool.write(piece)
            metadata = {"source": path, "path": path, "commit": commit, "repository": self._config.url}
            return Fetched(path, path, None, spool.content(), metadata, state)

    # --- the process ------------------------------------------------------------------------------------------------
    async def _open(self, commit: str | None, skip: int) -> str:
        """Starts a reader at the branch's commit, or restarts one at this commit after the first `skip` entries.

        Returns the commit. Raises SourceError.
        """
        await self._end()
        local = self._config.url.startswith("file:")
        path = str(await asyncio.to_thread(allowed, local_path(self._config.url), self._roots)) if local else None
        if not local:
            await asyncio.to_thread(self._home.parent.mkdir, parents=True, exist_ok=True, mode=0o700)
        reading, writing = os.pipe()
        self._commands = os.fdopen(writing, "wb", buffering=0)
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-m",
                "stoa.sources.repositories.reader",
                str(reading),
                str(os.getpid()),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                pass_fds=(reading,),
                start_new_session=True,
                cwd="/",
                env=_ENVIRONMENT,
                limit=ANSWER_BYTES_MAX,
            )
        finally:
            os.close(reading)
        job = {
            "do": "open",
            "url": self._config.url,
            "path": path,
            "home": str(self._home.absolute()),
            "branch": self._config.branch,
            "commit": commit,
            "skip": skip,
            "username": self._secrets.get("username"),
            "token": self._secrets.get("token"),
            "outbound": self._outbound.to_json(),
        }
        try:
            return str((await self._ask(job, FETCH_SECONDS_MAX))["commit"])
        except _ReaderDied as died:
            raise SourceError("origin_failed", f"The repository cannot be fetched: {died}", retryable=True) from died

    async def _ask(self, command: Mapping[str, Any], seconds_max: float) -> Mapping[str, Any]:
        """Raises SourceError, or _ReaderDied."""
        assert self._process is not None
        assert self._process.stdout is not None
        assert self._commands is not None
        try:
            self._commands.write(orjson.dumps(command) + b"\n")
            async with asyncio.timeout(seconds_max):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise _ReaderDied(f"it took longer than {seconds_max:g} seconds.") from None
        except (BrokenPipeError, ValueError) as error:
            raise _ReaderDied("the reader ended.") from error
        if not line.endswith(b"\n"):
            raise _ReaderDied("the reader ended; it may have needed more memory or disk than it may use.")
        answer: Mapping[str, Any] = orjson.loads(line)
        if error := answer.get("error"):
            raise SourceError(error["code"], error["message"], retryable=error["retryable"])
        return answer

    async def _end(self) -> None:
        if self._commands is not None:
            self._commands.close()
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:  # A reaped process's number may belong to another process.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        if process.stdin is not None:
            process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.shield(asyncio.wait_for(process.wait(), REAP_SECONDS_MAX))


def local_path(url: str) -> str:
    """The path of a file:// URL. A URL with a host is refused, because it is no path of this server."""
    parts = urlsplit(url)
    return unquote(parts.path) if parts.netloc in ("", "localhost") else url
