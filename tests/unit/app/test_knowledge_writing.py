"""What runs put into knowledge bases: the same work of the same run has the same key, so it is done once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from stoa import bases
from stoa.app.filling import KnowledgeWriting
from stoa.db.idempotency import IdempotencyKey
from stoa.kernel.errors import BadRequest
from stoa.kernel.principal import Principal
from stoa.runs import NewDocument
from tests.support.graphs import a_run

BASE = UUID(int=5)


@dataclass
class Items:
    """Remembers what it is asked to store."""

    asked: list[tuple[Principal, UUID, list[bytes], IdempotencyKey]] = field(default_factory=list)

    async def upload(
        self, principal: Principal, base_id: UUID, uploads: Sequence[bases.Upload], once: IdempotencyKey
    ) -> Sequence[Any]:
        self.asked.append((principal, base_id, [one.source.read() for one in uploads], once))
        return []


async def test_the_same_work_has_the_same_key() -> None:
    items = Items()
    writing = KnowledgeWriting(items)  # type: ignore[arg-type]
    documents = [NewDocument("a.md", "One.", {"page": 1})]
    for path in ("write", "write", "map/1"):
        await writing.store(a_run(), BASE, documents, path)
    keys = [once for *_, once in items.asked]
    assert keys[0] == keys[1]
    assert keys[2].key != keys[0].key
    principal, base_id, contents, _ = items.asked[0]
    assert (principal.project_id, base_id, contents) == (a_run().project_id, BASE, [b"One."])


async def test_metadata_has_its_limits() -> None:
    with pytest.raises(BadRequest, match=r"documents\[0\]"):
        await KnowledgeWriting(Items()).store(a_run(), BASE, [NewDocument("a", "x", {"y": "z" * 100_000})], "w")  # type: ignore[arg-type]
