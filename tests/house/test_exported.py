"""No table of a project is forgotten by its export, and no secret is in one."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import asyncpg
import pytest

from stoa import access
from stoa.app.slices import open_slices
from stoa.db import Database
from stoa.http import Gate
from stoa.http.component import Kit
from stoa.kernel.clock import SystemClock
from stoa.kernel.ids import RandomIds
from stoa.kernel.schema_checker import SchemaChecker
from stoa.settings import Settings
from stoa.transfer import store

NOT_EXPORTED = {
    "access_keys": "a credential belongs to the server that made it",
    "app_signing_secrets": "is a secret; the app gets a new one with its first callback",
    "artifact_shares": "a link that anybody may open does not open on another server by itself",
    "audit": "says what was done on the server that was left; it is exported by `GET /v1/audit/export`",
    "cached_answers": "is a cache",
    "callback_attempts": "belongs to deliveries of the server that was left",
    "callbacks": "is delivered by the server that was left, and by no other once more",
    "deletions": "is a receipt of the server that deleted",
    "idempotency_keys": "remembers requests to the server that was left",
    "import_parts": "is an import under way",
    "imports": "is an import under way",
    "invitations": "is a credential",
    "key_reservations": "belongs to an access key",
    "key_spending": "belongs to an access key",
    "key_uses": "belongs to an access key",
    "oauth_attempts": "is a sign-in under way",
    "project_members": "names users of the server that was left",
    "revoked_keys": "belongs to access keys",
    "sessions": "is a credential",
    "list_changes": "is written by triggers of the lists' rows",
    "list_counts": "is counted from the lists' rows",
    "trace_settings": "says where this server exports its traces to, with credentials",
    "usage_sums": "is computed from the lines of the bill, which are exported",
    "user_connections": "is a credential of an end user, sealed with the key of the server that was left",
}
"""Tables with a project that no export holds, and why."""
SECRETS_LOOK_LIKE = ("secret", "password", "token", "credential", "hash", "auth", "header", "key")
HARMLESS = {
    "files.sha256": "a content's hash",
    "artifact_versions.sha256": "a content's hash",
    "knowledge_items.sha256": "a content's hash",
    "knowledge_items.served_sha256": "a content's hash",
    "knowledge_transcripts.sha256": "a content's hash",
    "knowledge_source_entries.sha256": "a content's hash",
    "knowledge_chunks.hash": "a chunk's hash",
    "events.payload": "what a run said",
    "knowledge_postings.records": "counts of words",
    "skill_versions.archive": "a skill's own files",
    "model_calls.key_id": "the id of a key",
    "model_calls.prompt_tokens": "a number",
    "model_calls.completion_tokens": "a number",
    "model_calls.cached_tokens": "a number",
    "model_calls.reasoning_tokens": "a number",
    "knowledge_transcripts.prompt_tokens": "a number",
    "knowledge_transcripts.completion_tokens": "a number",
    "spans.prompt_tokens": "a number",
    "spans.completion_tokens": "a number",
    "traces.prompt_tokens": "a number",
    "traces.completion_tokens": "a number",
}
"""Exported columns that are binary, or are called like a secret, and are none."""


@pytest.fixture
async def tables(dsn: str, tmp_path: Path) -> AsyncIterator[Mapping[str, store.Table]]:
    """What the slices of a whole server give into an export."""
    database = await Database.open(dsn, connections_max=2)
    clock, ids = SystemClock(), RandomIds()
    owner = access.Access(database, ids, clock)
    kit = Kit(database, dsn, clock, ids, Gate(owner.authenticate, owner.admit), SchemaChecker(), b"k" * 32)
    try:
        async with open_slices(Settings(data_dir=tmp_path), kit, owner) as slices, database.transaction("BEGIN") as tx:
            found = await store.tables(tx, [one for part in slices.all for one in part.exported])
            yield {one.name: one for one in found}
    finally:
        await kit.schemas.close()
        await database.close()


async def test_every_table_of_a_project_is_exported_or_has_its_reason(
    dsn: str, tables: Mapping[str, store.Table]
) -> None:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'project_id'"
        " WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
    )
    await connection.close()
    of_projects = {row["relname"] for row in rows}
    assert of_projects - set(tables) - set(NOT_EXPORTED) == set(), "say it in the slice's exported.py"
    assert set(NOT_EXPORTED) - of_projects == set(), "no such tables"
    assert set(NOT_EXPORTED) & set(tables) == set(), "exported, and said not to be"


async def test_no_secret_is_exported(tables: Mapping[str, store.Table]) -> None:
    suspicious = {
        f"{table.name}.{column}"
        for table in tables.values()
        for column, kind in table.types.items()
        if kind == "bytea" or any(word in column for word in SECRETS_LOOK_LIKE)
    }
    assert suspicious == set(HARMLESS), "leave it out in the slice's exported.py, or say here why it is harmless"


async def test_what_slices_name_is_there(tables: Mapping[str, store.Table]) -> None:
    for table in tables.values():
        one = table.exported
        assert table.types, f"{one.table} is no table"
        assert table.key, f"{one.table} has no key within its project"
        named = {*one.on_import, *one.contents, *one.follows, *([one.renumbered] if one.renumbered else [])}
        assert named <= set(table.types), one.table
        assert not named & set(one.left_out), one.table
