"""The tables of artifacts that a project's export contains. Public links are not among them."""

from collections.abc import Sequence

from stoa.db.blobs import Blobs
from stoa.db.exported import OWNER, Exported


def exported(blobs: Blobs) -> Sequence[Exported]:
    return [
        Exported(table="artifacts", on_import={"owner_id": OWNER}),
        Exported(table="artifact_versions", contents={"sha256": blobs}),
    ]
