"""Lets nodes of graphs add items to knowledge bases."""

from collections.abc import Sequence
from hashlib import sha256
from io import BytesIO
from uuid import UUID

import orjson

from stoa import bases, runs
from stoa.db.idempotency import IdempotencyKey
from stoa.kernel.principal import Principal


class KnowledgeWriting:
    """Acts as the principal that started the run."""

    def __init__(self, items: bases.Items) -> None:
        self._items = items

    async def store(
        self, run: runs.Run, base_id: UUID, documents: Sequence[runs.NewDocument], path: str
    ) -> Sequence[UUID]:
        principal = Principal(run.org_id, run.project_id, run.created_by or run.id)
        for index, one in enumerate(documents):
            bases.check_metadata(dict(one.metadata), f"documents[{index}].metadata")
        uploads = [
            bases.Upload(BytesIO(one.content.encode("utf-8", "replace")), one.name, "text/markdown", one.metadata)
            for one in documents
        ]
        named = sha256(orjson.dumps([(one.name, one.metadata) for one in documents])).digest()
        once = IdempotencyKey(f"{run.id}/{sha256(path.encode()).hexdigest()}", "workflow.writer", named)
        return [item.id for item in await self._items.upload(principal, base_id, uploads, once)]
