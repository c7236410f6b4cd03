"""Writes the parts of an import into its project, in the caller's transaction and with its row-level security.

The values of a record are strings. PostgreSQL casts them to the types of the columns and checks its constraints; an
error becomes a refusal that names the part.
"""

import asyncio
import base64
import binascii
import hashlib
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import IO, Any, Final
from uuid import UUID

import asyncpg
import orjson

from stoa.db import Tx
from stoa.db.blobs import Blobs
from stoa.kernel.errors import BadRequest, Conflict
from stoa.transfer import rules, store
from stoa.transfer.store import SQL, Table
from stoa.transfer.types import Part

_REFUSED: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.InsufficientPrivilegeError,
)
SPOOLED_BYTES: Final = 1024 * 1024


class Contents:
    """Assembles file contents from their pieces, and stores them if `keep` is set."""

    def __init__(self, org_id: UUID, project_id: UUID, *, keep: bool) -> None:
        self._org_id = org_id
        self._project_id = project_id
        self._keep = keep
        self._file: IO[bytes] | None = None
        self._sha256 = ""
        self._size = 0
        self._digest = hashlib.sha256()
        self.seen: set[tuple[int, bytes]] = set()
        """(blob store, SHA-256)."""
        self._stored: list[tuple[Blobs, str]] = []

    async def add(self, part: Part, table: Table, line: bytes) -> None:
        """Raises BadRequest if a piece does not follow the previous one, or a content has another hash."""
        sha256, at, piece, last = _piece(part, line)
        if self._file is None:
            self._file, self._sha256 = tempfile.SpooledTemporaryFile(SPOOLED_BYTES), sha256  # noqa: SIM115 — closed below
            self._size, self._digest = 0, hashlib.sha256()
        if sha256 != self._sha256 or at != self._size:
            raise BadRequest(f"{part.name}: the content {sha256} has no piece at {self._size}; its pieces must follow.")
        self._size += len(piece)
        self._digest.update(piece)
        if self._keep:
            await asyncio.to_thread(self._file.write, piece)
        if not last:
            return
        if self._digest.hexdigest() != sha256:
            raise BadRequest(f"{part.name}: a content has the SHA-256 {self._digest.hexdigest()}, and says {sha256}.")
        blobs = store.blobs_of(table)
        self.seen.add((id(blobs), self._digest.digest()))
        if self._keep:
            self._file.seek(0)
            stored = await blobs.put(self._org_id, self._project_id, self._file)  # type: ignore[arg-type]
            self._stored.append((blobs, stored.name))
        self.close()

    def whole(self) -> None:
        """Raises BadRequest if the last piece of a content is missing."""
        if self._file is not None:
            raise BadRequest(f"The content {self._sha256} ends at {self._size}: its last piece is missing.")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    async def forget(self) -> None:
        """Removes the stored contents after a failed import, whose project does not exist."""
        for blobs, name in self._stored:
            await blobs.delete(name)


class Writer:
    """Writes the records of one import."""

    def __init__(
        self,
        tx: Tx,
        org_id: UUID,
        tables: Mapping[str, Table],
        columns: Mapping[str, Sequence[str]],
        names: Mapping[str, str],
        models: Mapping[UUID, UUID],
    ) -> None:
        self._tx = tx
        self._org_id = org_id
        self._tables = tables
        self._columns = columns
        self._statements = {name: store.writing(tables[name], columns[name], names, models) for name in columns}

    async def write(self, part: Part, raw: bytes) -> None:
        """Raises BadRequest or Conflict."""
        written = 0
        for lines in _batches(raw):
            written += await self._write(part, lines)
            await asyncio.sleep(0)
        if written != part.records:
            raise BadRequest(f"{part.name}: says {part.records} records and holds {written}.")

    async def _write(self, part: Part, lines: Sequence[bytes]) -> int:
        table = self._tables[part.table]
        try:
            text = b"[%s]" % b",".join(lines)
            records = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadRequest(f"{part.name}: holds bytes that are no UTF-8 text.") from error
        try:
            answer = await self._tx.execute(self._statements[part.table], records)
            if table.by_id:
                await self._check_elsewhere(part, lines)
        except asyncpg.UniqueViolationError as error:
            raise Conflict(f"{part.name}: something of it is here already: {_detail(error)}") from error
        except asyncpg.ForeignKeyViolationError as error:
            raise BadRequest(f"{part.name}: names something that is not in the export: {_detail(error)}") from error
        except _REFUSED as error:
            raise BadRequest(f"{part.name}: a record of {part.table} is refused: {_detail(error)}") from error
        await self._tx.execute(SQL.forget_changes)
        return int(answer.rpartition(" ")[2])

    async def _check_elsewhere(self, part: Part, lines: Sequence[bytes]) -> None:
        """Raises Conflict if an id exists in another organization of this server."""
        ids = [_id(part, line) for line in lines]
        row = await self._tx.fetchrow(SQL.elsewhere, part.table, self._org_id, ids)
        if row is not None:
            raise Conflict(
                f"{part.name}: {part.table} has the id {row['id']}, which is taken on this server outside of your"
                " organization. Nothing was imported."
            )


def unpacked(part: Part, content: bytes) -> bytes:
    """Raises BadRequest if it is not gzip, is cut off, or does not unpack to the size in the manifest."""
    machine = zlib.decompressobj(wbits=31)
    try:
        raw = machine.decompress(content, part.bytes + 1)
    except zlib.error as error:
        raise BadRequest(f"{part.name}: is no gzip: {error}.") from error
    if len(raw) > part.bytes or machine.unconsumed_tail:
        raise BadRequest(f"{part.name}: unpacks to more than the {part.bytes} bytes that the manifest says.")
    if not machine.eof or machine.unused_data:
        raise BadRequest(f"{part.name}: is cut off, or something follows it.")
    if len(raw) != part.bytes:
        raise BadRequest(f"{part.name}: unpacks to {len(raw)} bytes, and the manifest says {part.bytes}.")
    return raw


async def check_contents(
    tx: Tx,
    org_id: UUID,
    project_id: UUID,
    tables: Sequence[Table],
    seen: AbstractSet[tuple[int, bytes]],
    known: frozenset[str],
) -> int:
    """The number of missing contents, all of which the manifest lists as missing. Raises BadRequest for any other."""
    missing = 0
    for table in tables:
        if not table.exported.contents:
            continue
        async for row in tx.cursor(store.contents(table), org_id, project_id, "", prefetch=500):
            if (id(store.blobs_of(table)), bytes.fromhex(row["sha256"])) in seen:
                continue
            if row["sha256"] not in known:
                raise BadRequest(f"The content {row['sha256']} of {table.name} is in no part of the export.")
            missing += 1
    return missing


async def write_contents(contents: Contents, part: Part, table: Table, raw: bytes) -> None:
    count = 0
    for lines in _batches(raw):
        for line in lines:
            await contents.add(part, table, line)
        count += len(lines)
        await asyncio.sleep(0)
    if count != part.records:
        raise BadRequest(f"{part.name}: says {part.records} records and holds {count}.")


def _batches(raw: bytes) -> Iterator[Sequence[bytes]]:
    lines: list[bytes] = []
    size, at = 0, 0
    while at < len(raw):
        end = raw.find(b"\n", at)
        end = len(raw) if end < 0 else end
        line, at = raw[at:end], end + 1
        if not line:
            continue
        lines.append(line)
        size += len(line)
        if size >= rules.BATCH_BYTES or len(lines) >= rules.BATCH_RECORDS:
            yield lines
            lines, size = [], 0
    if lines:
        yield lines


def _piece(part: Part, line: bytes) -> tuple[str, int, bytes, bool]:
    try:
        record: Any = orjson.loads(line)
        sha256, at = record["sha256"], record["at"]
        piece = base64.b64decode(record["bytes"], validate=True)
        bytes.fromhex(sha256)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, binascii.Error) as error:
        raise BadRequest(f"{part.name}: holds a record that is no piece of a content.") from error
    if len(sha256) != 64 or not isinstance(at, int):
        raise BadRequest(f"{part.name}: holds a record that is no piece of a content.")
    return sha256, at, piece, record.get("last") is True


def _id(part: Part, line: bytes) -> UUID:
    try:
        return UUID(orjson.loads(line)["id"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise BadRequest(f"{part.name}: a record of {part.table} has no id.") from error


def _detail(error: Any) -> str:
    """PostgreSQL's message, without the statement."""
    detail = str(error.detail or error.args[0] if error.args else error)
    return detail.replace("\x00", "")[:500].rstrip(".") + "."
