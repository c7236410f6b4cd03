"""The JSON shapes of the audit, and its export."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import orjson

from stoa.access.auditing import entry
from stoa.access.types import AuditLine, ChainHead
from stoa.http import Timestamp, Wire

COLUMNS: Final = (
    "sequence", "at", "action", "subject_id", "project_id", "key_id", "user_id", "request_id", "method", "path",
    "address", "client", "changes",
)  # fmt: skip


class AuditChangeWire(Wire):
    """A row before and after the change. `hidden` names other changed columns, whose values are not shown."""

    table: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    hidden: Sequence[str] | None


class AuditLineWire(Wire):
    """`sequence` and `hash` are the line's position and hash in the chain; a line has neither in its first second."""

    id: int
    at: Timestamp
    action: str
    subject_id: UUID | None
    project_id: UUID | None
    key_id: UUID | None
    user_id: UUID | None
    request_id: str | None
    method: str | None
    path: str | None
    address: str | None
    client: str | None
    changes: Sequence[AuditChangeWire] | None
    sequence: int | None
    hash: str | None


class AuditHeadWire(Wire):
    """Keep it outside of this server: an export that ends in this hash has every line up to `sequence`, unchanged."""

    sequence: int
    hash: str


def line(value: AuditLine) -> AuditLineWire:
    return AuditLineWire(
        id=value.id,
        at=value.at,
        action=value.action,
        subject_id=value.subject_id,
        project_id=value.project_id,
        key_id=value.key_id,
        user_id=value.user_id,
        request_id=value.request_id,
        method=value.method,
        path=value.path,
        address=value.address,
        client=value.client,
        changes=[_change(one) for one in value.changes] if value.changes else None,
        sequence=value.sequence,
        hash=value.hash.hex() if value.hash else None,
    )


def _change(value: Mapping[str, Any]) -> AuditChangeWire:
    return AuditChangeWire(
        table=value["table"], before=value.get("before"), after=value.get("after"), hidden=value.get("hidden")
    )


def head(value: ChainHead) -> AuditHeadWire:
    return AuditHeadWire(sequence=value.sequence, hash=value.hash.hex())


def as_jsonl(lines: Sequence[AuditLine]) -> bytes:
    """The format that `stoa audit verify` reads."""
    return b"".join(orjson.dumps(_chained(one), option=orjson.OPT_APPEND_NEWLINE) for one in lines)


def _chained(value: AuditLine) -> dict[str, Any]:
    assert value.sequence is not None, "it is in the chain"
    assert value.hash is not None
    assert value.previous is not None
    shown = entry(value, value.sequence)
    return {"sequence": value.sequence, "previous": value.previous.hex(), "hash": value.hash.hex(), "entry": shown}


def as_csv(lines: Sequence[AuditLine], *, heading: bool) -> bytes:
    """For spreadsheets: an apostrophe is put before a text that a spreadsheet would run as a formula."""
    text = io.StringIO()
    writer = csv.writer(text)
    if heading:
        writer.writerow(COLUMNS)
    for one in lines:
        assert one.sequence is not None, "it is in the chain"
        shown = entry(one, one.sequence)
        writer.writerow([_cell(shown.get(name)) for name in COLUMNS])
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else orjson.dumps(value).decode()
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
