"""What a project's export holds of sources. After an import no source syncs by itself, because its secrets are
missing."""

from collections.abc import Sequence
from typing import Final

from stoa.db.exported import NODE, SECRET, Exported

EXPORTED: Final[Sequence[Exported]] = (
    Exported(
        table="knowledge_sources",
        rows="t.deleting IS NULL",
        left_out={
            "secrets": SECRET,
            "secret_names": "names the secrets that are left out",
            "next_sync_at": "is computed when the schedule is saved again",
        },
        to_fill_in="CASE WHEN t.secrets IS NOT NULL THEN 'source ' || t.name || ': its secrets '"
        " || array_to_string(t.secret_names, ', ') || '; save it to start its schedule'"
        " WHEN t.schedule IS NOT NULL THEN 'source ' || t.name || ': save it to start its schedule' END",
    ),
    Exported(
        table="knowledge_source_entries",
        rows="EXISTS (SELECT FROM knowledge_sources s WHERE s.org_id = t.org_id AND s.id = t.source_id"
        " AND s.deleting IS NULL)",
    ),
    Exported(
        table="knowledge_source_syncs",
        rows="t.status NOT IN ('pending', 'running') AND EXISTS (SELECT FROM knowledge_sources s"
        " WHERE s.org_id = t.org_id AND s.id = t.source_id AND s.deleting IS NULL)",
        left_out={"node_id": NODE, "deadline": NODE},
    ),
)
