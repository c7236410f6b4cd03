"""The rerankers that bases may name (the operator's endpoint, endpoints of a tenant's connections), and reranking."""

from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter
from typing import Any, Final
from uuid import UUID

from stoa.bases.ports import Credentials
from stoa.embedding import RemoteReranker, Reranker, RerankerError
from stoa.index import Found, Hit
from stoa.kernel.errors import BadRequest, Unavailable
from stoa.outbound import Outbound

CANDIDATES: Final = 50
"""Number of reranked hits: a reranker's time is proportional to them."""
COHERE_URL: Final = "https://api.cohere.com/v2"


class Rerankers:
    """Long-lived. `server` is the operator's endpoint, where there is one."""

    def __init__(self, server: Reranker | None, credentials: Credentials, *, outbound: Outbound) -> None:
        self._server = server
        self._credentials = credentials
        self._outbound = outbound

    def check(self, chosen: Mapping[str, Any] | None) -> None:
        """Raises BadRequest naming the field of `retriever.reranker`."""
        if chosen is None:
            return
        if chosen["provider"] == "server" and self._server is None:
            raise BadRequest.field(
                "retriever.reranker.provider",
                "is server, but the operator has configured no [reranker]; a connection can be named instead",
            )
        if chosen["provider"] == "connection":
            for field in ("connection_id", "model"):
                if not chosen.get(field):
                    raise BadRequest.field(f"retriever.reranker.{field}", "is needed with the provider connection")

    async def get(self, org_id: UUID, project_id: UUID, chosen: Mapping[str, Any] | None) -> Reranker:
        """The one that a base names, or the operator's. Raises BadRequest where there is none, Unavailable where its
        connection is gone."""
        if chosen is None or chosen["provider"] == "server":
            if self._server is None:
                raise BadRequest.field(
                    "rerank",
                    "cannot be: neither has this base a reranker in its retriever nor has the operator configured one",
                )
            return self._server
        found = await self._credentials(org_id, project_id, UUID(str(chosen["connection_id"])))
        if found is None:
            raise Unavailable(
                "The connection of this knowledge base's reranker is gone; set another in its retriever, "
                "or search with rerank=false."
            )
        base_url, api_key, ca_bundle = found
        outbound = await self._outbound.trusting(ca_bundle)
        return RemoteReranker(base_url or COHERE_URL, chosen["model"], api_key, outbound=outbound)


async def reranked(
    reranker: Reranker, query: str, found: Found, limit: int, similarity_threshold: float | None, *, explain: bool
) -> Found:
    """The hits in the reranker's order, with its scores; ties keep their order. Raises Unavailable."""
    begun = perf_counter()
    try:
        scores = await reranker.rerank(query, [_read(hit) for hit in found.hits])
    except RerankerError as error:
        raise Unavailable(
            f"The answer cannot be reranked just now: {error.message} A search with rerank=false works without."
        ) from error
    order = sorted(range(len(found.hits)), key=lambda place: -scores[place])
    hits = [_judged(found.hits[place], scores[place], place + 1, explain) for place in order]
    hits = [hit for hit in hits if similarity_threshold is None or hit.score >= similarity_threshold][:limit]
    if not explain:
        return replace(found, hits=hits)
    stage = {
        "reranker": reranker.identity,
        "candidates": len(found.hits),
        "ms": round((perf_counter() - begun) * 1000, 2),
    }
    return Found(hits, {**found.explain, "rerank": stage})


def _read(hit: Hit) -> str:
    return hit.text if hit.heading is None or hit.heading in hit.text else f"{hit.heading}\n{hit.text}"


def _judged(hit: Hit, score: float, place: int, explain: bool) -> Hit:
    shown = (
        {**(hit.explain or {}), "rerank": {"score": round(score, 4), "before": {"rank": place, "score": hit.score}}}
        if explain
        else None
    )
    return replace(hit, score=round(score, 4), explain=shown)
