"""The tables of conversations in an export of a project."""

from collections.abc import Sequence

from stoa.db.blobs import Blobs
from stoa.db.exported import OWNER, Exported


def exported(blobs: Blobs) -> Sequence[Exported]:
    return [
        Exported(table="conversations", on_import={"owner_id": OWNER}),
        Exported(table="conversation_segments"),
        Exported(table="messages"),
        Exported(table="files", on_import={"owner_id": OWNER}, contents={"sha256": blobs}),
        Exported(table="file_passages"),
        Exported(table="conversation_files"),
    ]
