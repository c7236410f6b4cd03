"""The tables of runs in an export of a project. The importing server cancels runs that had not ended."""

from collections.abc import Sequence
from typing import Final

from stoa.db.exported import NODE, OWNER, Exported

EXPORTED: Final[Sequence[Exported]] = (
    Exported(
        table="runs",
        left_out={"node_id": NODE},
        on_import={
            "owner_id": OWNER,
            # No node resumes it: the node that claims it sees the cancel request and ends it.
            "status": "CASE t.status WHEN 'paused' THEN 'started' ELSE t.status END",
            "cancel_reason": "CASE WHEN t.status IN ('created', 'started', 'paused')"
            " THEN coalesce(t.cancel_reason, 'imported') ELSE t.cancel_reason END",
        },
    ),
    Exported(table="run_nodes"),
    Exported(table="input_requests"),
    Exported(table="tool_calls"),
    Exported(table="tool_effects"),
)
