"""What an export of a project holds of triggers. They are imported inactive, and run as the importing key or user."""

from collections.abc import Sequence
from typing import Final

from stoa.db.exported import NODE, SECRET, Exported

EXPORTED: Final[Sequence[Exported]] = (
    Exported(
        table="triggers",
        left_out={
            "signing_secret": SECRET,
            "hook_hash": "is the secret of a URL of the server that was left",
            "next_at": "is computed when the trigger is activated",
            "wake_at": "is computed when the trigger is activated",
        },
        on_import={
            "status": "CASE t.status WHEN 'active' THEN 'inactive' ELSE t.status END",
            "actor_id": "{actor}",
            "actor_is_user": "{actor_is_user}",
        },
        to_fill_in="'trigger ' || t.name || ': ' || concat_ws(', ',"
        " CASE WHEN t.signing_secret IS NOT NULL THEN 'its signing secret' END,"
        " CASE WHEN t.hook_hash IS NOT NULL THEN 'a new URL' END,"
        " CASE WHEN t.status = 'active' THEN 'activate it' ELSE 'it was not active' END)",
    ),
    Exported(
        table="trigger_events",
        rows="t.status IN ('accepted', 'failed', 'skipped')",
        left_out={"node_id": NODE, "deadline": NODE},
    ),
)
