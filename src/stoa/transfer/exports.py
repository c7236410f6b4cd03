"""Exports: a project as a stream of parts, read from one snapshot of the database.

An export keeps its snapshot between requests: a client whose connection broke resumes after the last part that it has
received, and the whole file still shows one moment. The node that started the export holds the snapshot in an open
transaction. It closes it after two minutes without a request, or when the node stops; then the client must start a new
export.
"""

import asyncio
import base64
import gzip
import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

import orjson

from stoa import __version__
from stoa.db import Database, Tx, audit
from stoa.db.blobs import Blobs, blob_name
from stoa.db.exported import Exported
from stoa.kernel.clock import Clock, rfc3339
from stoa.kernel.errors import Conflict, Forbidden, NotFound, Unavailable
from stoa.kernel.ids import Ids
from stoa.kernel.principal import Principal
from stoa.kernel.supervise import Supervisor
from stoa.transfer import rules, store
from stoa.transfer.store import SQL, Table
from stoa.transfer.types import Manifest, Part, ProjectRecord

PREFETCH_ROWS: Final = 50
SWEEP_SECONDS: Final = 10.0
COMPRESSION: Final = 4


@dataclass(frozen=True, slots=True)
class _Place:
    """The position where a part begins: after a row of a table, or inside the content of a file."""

    table: int
    contents: bool = False
    after: Sequence[str] | None = None
    sha256: str = ""
    offset: int = 0


@dataclass(slots=True)
class _Part:
    """A part that is being filled."""

    begins: _Place
    lines: list[bytes] = field(default_factory=list[bytes])
    size: int = 0
    """In bytes, before compression."""

    def add(self, line: bytes) -> None:
        self.lines.append(line)
        self.size += len(line) + 1


class Export:
    """One export: its snapshot, and the parts that were written so far."""

    def __init__(self, export_id: UUID, principal: Principal, project: ProjectRecord, made_at: str, mtime: int) -> None:
        self.id = export_id
        self.principal = principal
        self.project = project
        self.made_at = made_at
        self.mtime = mtime
        self.tables: Sequence[Table] = ()
        self.parts: list[Part] = []
        self.begins: list[_Place] = [_Place(0)]
        """The position of each part, and of the next one."""
        self.models: dict[UUID, str] = {}
        self.to_fill_in: list[str] = []
        self.missing: set[str] = set()
        self.lock = asyncio.Lock()
        """Locked while a request reads the database."""
        self.reading = False
        self.done = False
        self.asked_at = 0.0
        self.tx: Tx | None = None
        self.stack = AsyncExitStack()


class Exports:
    def __init__(self, database: Database, ids: Ids, clock: Clock, exported: Sequence[Exported]) -> None:
        self._database = database
        self._ids = ids
        self._clock = clock
        self._open: dict[UUID, Export] = {}
        self._supervisor = Supervisor()
        self._exported = exported

    async def start(self) -> None:
        self._supervisor.keep_every(SWEEP_SECONDS, self.close_idle, "transfer.exports")

    async def stop(self) -> None:
        await self._supervisor.stop()
        for export in list(self._open.values()):
            await self._close(export)

    async def begin(self, principal: Principal, project_id: UUID) -> Export:
        """Takes the snapshot. Raises Forbidden, NotFound, and Unavailable if this node has EXPORTS_MAX exports."""
        within = scoped(principal, project_id)
        await self._make_room()
        now = self._clock.now()
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.project, principal.org_id, project_id)
            if row is None:
                raise NotFound(f"There is no project {project_id}.")
            await audit.record(tx, principal, "project.export", project_id)
        project = ProjectRecord(row["id"], row["name"], row["description"], row["visibility"])
        export = Export(self._ids.new(), principal, project, rfc3339(now), int(now.timestamp()))
        export.asked_at = self._clock.monotonic()
        self._open[export.id] = export
        try:
            async with export.lock:
                export.tx = await export.stack.enter_async_context(
                    self._database.tenant(within, snapshot=True, every_owner=True)
                )
                export.tables = await store.tables(export.tx, self._exported)
                rows = await export.tx.fetch(SQL.operators_models, principal.org_id, project_id)
                export.models = {one["id"]: one["slug"] for one in rows}
        except BaseException:
            await self._close(export)
            raise
        export.asked_at = self._clock.monotonic()
        return export

    def resume(self, principal: Principal, project_id: UUID, export_id: UUID, after: int) -> Export:
        """The export, to continue after a part. Raises Conflict if this node does not hold its snapshot (any more)."""
        export = self._open.get(export_id)
        if export is None or export.project.id != project_id or export.principal.org_id != principal.org_id:
            raise Conflict(
                f"This node holds no snapshot of the export {export_id}: nobody asked for two minutes, or the server"
                " was started again. Begin a new export."
            )
        scoped(principal, project_id)
        if export.reading:
            raise Unavailable("This export is being read at this moment; try again.")
        if not 0 <= after < len(export.begins):
            raise Conflict(f"The export {export_id} has {len(export.parts)} parts so far, and none behind {after}.")
        export.asked_at = self._clock.monotonic()
        return export

    async def stream(self, export: Export, after: int | None) -> AsyncGenerator[bytes]:
        """The file as a tar archive; with `after`, only what follows that part."""
        export.reading = True
        try:
            if after is None:
                yield _entry(export, rules.HEADER, orjson.dumps(self._header(export)))
            parts = self._parts(export, after or 0)
            async with aclosing(parts):
                async for name, content in parts:
                    yield _entry(export, name, content)
            async with export.lock:
                if not export.done:
                    await self._look_for_gaps(export)
                export.done = True
            yield _entry(export, rules.MANIFEST, orjson.dumps(rules.as_json(self._manifest(export))))
            yield rules.TAR_END
        finally:
            export.reading = False

    async def _parts(self, export: Export, after: int) -> AsyncGenerator[tuple[str, bytes]]:
        """(name, content) of each part after `after`. Writing a part again gives the same bytes."""
        number = after
        place = export.begins[after]
        for at in range(place.table, len(export.tables)):
            table = export.tables[at]
            for contents in (False, True):
                if (at, contents) < (place.table, place.contents) or (contents and not table.exported.contents):
                    continue
                begins = place if (at, contents) == (place.table, place.contents) else _Place(at, contents)
                filled = self._contents(export, table, begins) if contents else self._rows(export, table, begins)
                async with aclosing(filled):
                    async for part, next_begins in filled:
                        number += 1
                        content = await asyncio.to_thread(_packed, part.lines)
                        sha256 = hashlib.sha256(content).hexdigest()
                        if len(export.parts) >= number and export.parts[number - 1].sha256 != sha256:
                            raise Conflict(f"A content of the export {export.id} was deleted; begin a new export.")
                        if len(export.parts) < number:
                            export.parts.append(
                                Part(number, table.name, contents, len(part.lines), part.size, len(content), sha256)
                            )
                            export.begins[number - 1] = part.begins
                            export.begins.append(next_begins)
                        yield export.parts[number - 1].name, content

    async def _rows(self, export: Export, table: Table, begins: _Place) -> AsyncGenerator[tuple[_Part, _Place]]:
        after = begins.after
        query = store.reading(table, resumed=after is not None)
        rows = self._fetched(export, query, *(after or ()))
        part = _Part(begins)
        async with aclosing(rows):
            async for line, key in rows:
                part.add(line.encode())
                if part.size >= rules.PART_BYTES:
                    place = _Place(begins.table, after=key)
                    yield part, place
                    part = _Part(place)
        if part.lines:
            yield part, _Place(begins.table, contents=True)

    async def _contents(self, export: Export, table: Table, begins: _Place) -> AsyncGenerator[tuple[_Part, _Place]]:
        """The contents of files in pieces. If one cannot be read, the manifest lists it as missing, and its rows are
        exported anyway."""
        blobs = store.blobs_of(table)
        part = _Part(begins)
        digests = self._fetched(export, store.contents(table), begins.sha256)
        async with aclosing(digests):
            async for sha256, _ in digests:
                offset = begins.offset if sha256 == begins.sha256 else 0
                name = blob_name(export.principal.org_id, export.project.id, bytes.fromhex(sha256))
                pieces = _pieces(blobs, name, offset)
                try:
                    async with aclosing(pieces):
                        async for piece, last in pieces:
                            record = {"sha256": sha256, "at": offset, "bytes": base64.b64encode(piece).decode()}
                            part.add(orjson.dumps({**record, "last": True} if last else record))
                            offset += len(piece)
                            if part.size >= rules.PART_BYTES:
                                place = _Place(begins.table, contents=True, sha256=sha256, offset=offset)
                                if last:
                                    place = replace(place, sha256=sha256 + "~", offset=0)
                                yield part, place
                                part = _Part(place)
                except FileNotFoundError:
                    export.missing.add(sha256)
        if part.lines:
            yield part, _Place(begins.table + 1)

    async def _fetched(
        self, export: Export, query: str, *values: str
    ) -> AsyncGenerator[tuple[str, Sequence[str] | None]]:
        """Rows in batches. Raises Conflict if the snapshot was closed between two batches, because the client was
        idle."""
        before = self._transaction(export)
        rows = aiter(before.cursor(query, export.principal.org_id, export.project.id, *values, prefetch=PREFETCH_ROWS))
        while True:
            batch: list[tuple[str, Sequence[str] | None]] = []
            async with export.lock:
                self._transaction(export)
                with suppress(StopAsyncIteration):
                    while len(batch) < PREFETCH_ROWS:
                        row = await anext(rows)
                        batch.append((row[0], row[1] if len(row) > 1 else None))
            for one in batch:
                yield one
            export.asked_at = self._clock.monotonic()
            if len(batch) < PREFETCH_ROWS:
                return

    def _transaction(self, export: Export) -> Tx:
        if export.tx is None:
            raise Conflict(f"The snapshot of the export {export.id} was given up: nobody read it for two minutes.")
        return export.tx

    async def _look_for_gaps(self, export: Export) -> None:
        tx = self._transaction(export)
        kept_days = await tx.fetchval(SQL.kept_days, export.principal.org_id, export.project.id)
        if kept_days is not None:  # Not imported automatically: it would delete data on the day of the import.
            export.to_fill_in.append(f"the project: it kept conversations for {kept_days:g} days")
        for table in export.tables:
            query = store.to_fill_in(table)
            if query is not None and (room := rules.LIST_MAX - len(export.to_fill_in)) > 0:
                rows = await tx.fetch(query, export.principal.org_id, export.project.id, room)
                export.to_fill_in.extend(row["what"] for row in rows)

    def _header(self, export: Export) -> dict[str, object]:
        about = {"format": rules.FORMAT, "version": rules.VERSION, "export_id": str(export.id)}
        return {**about, "exported_at": export.made_at, "project_id": str(export.project.id)}

    def _manifest(self, export: Export) -> Manifest:
        records = {table.name: 0 for table in export.tables}
        for part in export.parts:
            records[part.table] += 0 if part.contents else part.records
        return Manifest(
            export.project,
            export.made_at,
            __version__,
            {table.name: list(table.types) for table in export.tables},
            records,
            export.parts,
            export.models,
            export.to_fill_in,
            frozenset(export.missing),
        )

    async def _make_room(self) -> None:
        if len(self._open) >= rules.EXPORTS_MAX:
            for export in [one for one in self._open.values() if one.done and not one.reading]:
                await self._close(export)
        if len(self._open) >= rules.EXPORTS_MAX:
            message = f"This node writes {rules.EXPORTS_MAX} exports already; begin when one of them is done."
            raise Unavailable(message, retry_after_seconds=10)

    async def close_idle(self) -> None:
        """Closes the exports that had no request for IDLE_SECONDS_MAX."""
        since = self._clock.monotonic() - rules.IDLE_SECONDS_MAX
        for export in list(self._open.values()):
            if export.asked_at < since and not export.lock.locked():
                await self._close(export)

    async def _close(self, export: Export) -> None:
        self._open.pop(export.id, None)
        async with export.lock:
            export.tx = None
            await export.stack.aclose()


def scoped(principal: Principal, project_id: UUID) -> Principal:
    """The principal, restricted to one project. Raises Forbidden unless it is an owner, an admin or a key of the
    organization, because an export contains the data of all users."""
    if not principal.organization_wide:
        raise Forbidden("A project-scoped key exports and imports no projects, and of users only owners and admins do.")
    return replace(principal, project_id=project_id)


def _entry(export: Export, name: str, content: bytes) -> bytes:
    return b"".join([rules.tar_header(name, len(content), export.mtime), content, rules.tar_padding(len(content))])


def _packed(lines: Sequence[bytes]) -> bytes:
    return gzip.compress(b"\n".join(lines) + b"\n", COMPRESSION, mtime=0)


async def _pieces(blobs: Blobs, name: str, offset: int) -> AsyncGenerator[tuple[bytes, bool]]:
    """(piece, whether it is the last), from an offset. Empty content gives one empty piece."""
    skip, held = offset, b""
    started = False
    async for chunk in blobs.read(name):
        if skip >= len(chunk):
            skip -= len(chunk)
            continue
        for at in range(skip, len(chunk), rules.PIECE_BYTES):
            if started:
                yield held, False
            held, started = chunk[at : at + rules.PIECE_BYTES], True
        skip = 0
    yield held, True
