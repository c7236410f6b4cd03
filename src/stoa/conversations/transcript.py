"""The history for a run: the messages up to its own, and their files, once those have been read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from stoa.conversations import store
from stoa.conversations.reading import Reader
from stoa.conversations.types import File, FilePassage, HistoryMessage
from stoa.db import Database
from stoa.db.blobs import Blobs, blob_name
from stoa.db.internal import internal_statement


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file after reading; `file.error` says why there are no passages."""

    file: File
    passages: Sequence[FilePassage]


class Transcript:
    def __init__(self, database: Database, reader: Reader, blobs: Blobs) -> None:
        self._database = database
        self._reader = reader
        self._blobs = blobs

    async def messages(self, org_id: UUID, conversation_id: UUID, until: int, limit: int) -> Sequence[HistoryMessage]:
        """The newest `limit` messages up to position `until`, oldest first."""
        if until < 1:
            return ()
        async with internal_statement(self._database) as tx:
            return await store.history(tx, org_id, conversation_id, until, limit)

    async def files(
        self, org_id: UUID, conversation_id: UUID, messages: Sequence[HistoryMessage]
    ) -> Mapping[UUID, ReadFile]:
        """Every file of the messages, by id. Waits for conversions in progress."""
        wanted = {
            UUID(part["file"]["id"]) for message in messages for part in message.content if part["type"] == "file"
        }
        if not wanted:
            return {}
        async with internal_statement(self._database) as tx:
            found = await store.files_of(tx, org_id, conversation_id, list(wanted))
        read: dict[UUID, ReadFile] = {}
        for file_id, file in found.items():
            settled = await self._reader.settled(file)
            async with internal_statement(self._database) as tx:
                read[file_id] = ReadFile(settled, await store.passages(tx, org_id, file_id))
        return read

    async def content(self, file: File) -> bytes:
        """The whole file; for images, whose size the caller has checked."""
        return b"".join(
            [chunk async for chunk in self._blobs.read(blob_name(file.org_id, file.project_id, file.sha256))]
        )
