"""Rebuilds the postings of an index that an older version created, in the present form of analysis.

One transaction under the lock of the index: searches read the old words in the old form until it commits, and the new
ones in the new form afterwards. A process that dies leaves everything as it was. Writers of this index wait meanwhile.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from stoa.db import Row, Tx
from stoa.index import store
from stoa.index.analysing import Text, analyse
from stoa.index.normalizing import FORM
from stoa.index.postings import Counts, word_blocks
from stoa.index.stemming import Stemmer
from stoa.index.store import SQL
from stoa.index.types import BaseKey, NewChunk

_ITEMS: Final = 200
_METADATA: Final = "m"


async def rebuild(tx: Tx, stemmer: Stemmer, org_id: UUID, index_id: int) -> int | None:
    """The number of analysed items; None if another node has done it, or the index was dropped."""
    index = await tx.fetchrow(SQL.lock_form, org_id, index_id)
    if index is None or index["form"] >= FORM:
        return None
    key = BaseKey(index["org_id"], index["project_id"], index["knowledgebase_id"], index["generation"])
    await tx.execute(SQL.drop_words, key.org_id, index_id)
    words = blocks = items = 0
    languages: dict[str, None] = {}
    last = UUID(int=0)
    while rows := await tx.fetch(SQL.items_after, key.org_id, index_id, last, _ITEMS):
        last = rows[-1]["item_id"]
        for row in rows:
            added, counts, language = await _item(tx, stemmer, key, index_id, index["language"], row)
            words += sum(one.length for one in counts)
            blocks += added
            if counts:
                languages[language] = None
        items += len(rows)
    await tx.execute(SQL.set_form, key.org_id, index_id, FORM, list(languages), words, blocks)
    return items


async def _item(
    tx: Tx, stemmer: Stemmer, key: BaseKey, index_id: int, language: str, row: Row
) -> tuple[int, Sequence[Counts], str]:
    """The blocks that were written, the counts they were made of, and the language of the item."""
    texts = await tx.fetch(SQL.texts_of, key.org_id, index_id, row["first_ordinal"], row["last_ordinal"])
    title = row["title"] or str(row["metadata"].get("source", ""))
    chunks = [NewChunk(one["text"], b"", heading=one["heading"]) for one in texts]
    [analysed] = await analyse(tx, stemmer, FORM, [Text(chunks, language, title)])
    written = [*word_blocks((one["ordinal"], counts) for one, counts in zip(texts, analysed.counts, strict=True))]
    await store.insert_blocks(tx, key, index_id, written)
    kept = {term for term in row["terms"] if term.startswith(_METADATA)}
    terms = sorted(kept.union(*(one.terms for one in analysed.counts)))
    words = sum(one.length for one in analysed.counts)
    await tx.execute(SQL.set_analysis, key.org_id, index_id, row["item_id"], words, terms, analysed.language, title)
    return len(written), analysed.counts, analysed.language
