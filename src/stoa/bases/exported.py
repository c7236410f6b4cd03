"""The tables of knowledge bases in an export of a project: items, their files, chunks, vectors and postings."""

from collections.abc import Sequence

from stoa.db.blobs import Blobs
from stoa.db.exported import NODE, Exported

INDEX = {"index_id": "knowledge_indexes"}


def exported(blobs: Blobs) -> Sequence[Exported]:
    return [
        Exported(table="knowledgebases"),
        Exported(
            table="knowledge_items",
            left_out={"node_id": NODE, "deadline": NODE, "attempt": NODE, "not_before": NODE},
            on_import={
                "status": "CASE t.status WHEN 'processing' THEN 'pending' ELSE t.status END",
                "source_id": "(SELECT s.id FROM knowledge_sources s WHERE s.org_id = {org} AND s.id = t.source_id)",
            },
            contents={"sha256": blobs, "served_sha256": blobs},
        ),
        Exported(
            table="knowledge_indexes",
            renumbered="index_id",
            left_out={
                "own_table": "says where the vectors are stored here",
                "hnsw": "says what was built here",
            },
        ),
        Exported(table="knowledge_index_items", follows=INDEX),
        Exported(table="knowledge_chunks", follows=INDEX),
        Exported(table="knowledge_vectors", follows=INDEX),
        Exported(table="knowledge_postings", follows=INDEX),
        Exported(table="knowledge_transcripts", follows={"call_id": "model_calls"}),
    ]
