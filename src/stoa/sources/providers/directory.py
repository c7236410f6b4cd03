"""A directory of the server, below a root that its operator has allowed.

A symbolic link to a file is followed as long as its target is below the source's directory; one to a directory never
is. Files are opened from the directory down, component by component without following links, so a link that is swapped
in meanwhile cannot lead outside.
"""

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias

from stoa.sources import rules
from stoa.sources.configs import DirectoryConfig
from stoa.sources.globs import Globs
from stoa.sources.ports import Remember
from stoa.sources.providers.listing import Listed, changed
from stoa.sources.providers.spool import Spool, TooLarge, too_large
from stoa.sources.types import Content, Failed, Fetched, Finding, Incomplete, SourceError

BATCH: Final = 500
READ_BYTES: Final = 1024 * 1024

_File: TypeAlias = Listed[Sequence[str]]
"""`place` is the real path below the directory, after following links."""


class DirectoryOrigin:
    def __init__(self, config: DirectoryConfig, roots: Sequence[Path]) -> None:
        self._config = config
        self._roots = roots
        self._globs = Globs(config.include, config.exclude)

    async def walk(self, remember: Remember) -> AsyncGenerator[Finding]:
        root = await asyncio.to_thread(allowed, self._config.path, self._roots)
        listing = self._list(root)
        while batch := await asyncio.to_thread(lambda: list(islice(listing, BATCH))):
            for one in batch:
                if isinstance(one, Incomplete):
                    yield one
            async with aclosing(
                changed([one for one in batch if isinstance(one, Listed)], remember, partial(self._fetch, root))
            ) as findings:
                async for finding in findings:
                    yield finding

    def _list(self, root: Path) -> Iterator[_File | Incomplete]:
        waiting = [root]
        while waiting:
            directory = waiting.pop()
            try:
                found = sorted(os.scandir(directory), key=lambda entry: entry.name)
            except OSError as error:
                if directory == root:
                    raise SourceError(
                        "origin_failed", f"{root} cannot be listed: {error.strerror}.", retryable=True
                    ) from error
                yield Incomplete(
                    f"{rules.shown(_relative(directory, root))} cannot be listed: {error.strerror}. "
                    "What is below it stays as it was."
                )
                continue
            for entry in found:
                path = _relative(Path(entry.path), root)
                if rules.hidden(entry.name) and not self._config.hidden:
                    continue
                try:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                        continue
                    listed = self._file(root, entry, path)
                except OSError:  # It was deleted meanwhile, or is a dangling link.
                    continue
                if listed is not None:
                    yield listed

    def _file(self, root: Path, entry: os.DirEntry[str], path: str) -> _File | None:
        if not self._globs.take_file(path):
            return None
        target = Path(entry.path)
        if entry.is_symlink():
            target = target.resolve(strict=True)
            if not target.is_relative_to(root):
                return None
        found = target.lstat()
        if not stat.S_ISREG(found.st_mode):
            return None
        return Listed(path, _state(found), target.relative_to(root).parts)

    async def _fetch(self, root: Path, listed: _File) -> Finding:
        path = listed.origin
        try:
            content, state = await asyncio.to_thread(_read, root, listed.place)
        except TooLarge:
            return Failed(path, "too_large", too_large("The file", rules.ITEM_BYTES_MAX))
        except OSError as error:
            return Failed(path, "unreadable", f"The file cannot be read: {error.strerror or type(error).__name__}.")
        return Fetched(path, path, None, content, {"source": path, "path": path}, state)


def allowed(path: str, roots: Sequence[Path]) -> Path:
    """The real path of the directory. Raises SourceError unless it is a directory below one of the roots."""
    given = Path(path)
    found = Path(os.path.realpath(given))
    if not given.is_absolute() or not any(found.is_relative_to(os.path.realpath(root)) for root in roots):
        named = f"those of its operator are {', '.join(map(str, roots))}" if roots else "its operator has allowed none"
        raise SourceError(
            "directory_refused",
            f"{path} is not below a directory that this server may read (STOA_SOURCE_DIRECTORIES): {named}.",
        )
    if not found.is_dir():
        raise SourceError("origin_not_found", f"There is no directory {path} on this server.")
    return found


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _state(found: os.stat_result) -> dict[str, Any]:
    """The state includes the change time (ctime): a copy may keep the modification time of the file it replaces."""
    return {"size": found.st_size, "mtime": found.st_mtime_ns, "ctime": found.st_ctime_ns, "inode": found.st_ino}


def _read(root: Path, target: Sequence[str]) -> tuple[Content, dict[str, Any]]:
    """Raises OSError or TooLarge."""
    with Spool(rules.ITEM_BYTES_MAX) as spool, os.fdopen(_open(root, target), "rb") as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise OSError("it is no regular file")
        if before.st_size > rules.ITEM_BYTES_MAX:
            raise TooLarge
        while piece := file.read(READ_BYTES):
            spool.write(piece)
        # A file that changes while it is read is read again by the next sync.
        return spool.content(), _state(before) if _state(os.fstat(file.fileno())) == _state(before) else {}


def _open(root: Path, target: Sequence[str]) -> int:
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, directory)
        for part in target[:-1]:
            directory = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            stack.callback(os.close, directory)
        return os.open(target[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
