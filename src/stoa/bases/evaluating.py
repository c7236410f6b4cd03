"""Evaluates a base's search with a golden set: several settings, compared query by query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from stoa.bases import retrieval_metrics as metrics
from stoa.bases.retrieval_metrics import Estimate
from stoa.bases.searching import Asked, Search
from stoa.bases.service import no_base
from stoa.bases.store import SQL
from stoa.db import Database
from stoa.kernel.errors import BadRequest
from stoa.kernel.principal import Principal

QUERIES_MAX: Final = 500
SETTINGS_MAX: Final = 4
RELEVANT_MAX: Final = 1_000
CHUNKS_ASKED: Final = 100
"""Hits per search: usually enough for ten different items."""
PROBES_MAX: Final = 50


@dataclass(frozen=True, slots=True)
class Golden:
    """A query, and the items that answer it (ids or names) with a grade from 1 up."""

    query: str
    relevant: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Setting:
    """How to search; None is the base's own."""

    name: str
    mode: str | None = None
    alpha: float | None = None
    rerank: bool | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    setting: Setting
    estimates: Mapping[str, Estimate]
    per_query: Sequence[Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference between two settings, per query and with the paired interval."""

    first: str
    second: str
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Probe:
    """Of the ten nearest vectors of each query, how many a search finds; 1 where it scans all of them."""

    recall: float
    queries: int
    method: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    judged: Sequence[Judged]
    differences: Sequence[Difference]
    probe: Probe | None


class Evaluations:
    def __init__(self, database: Database, search: Search) -> None:
        self._database = database
        self._search = search

    async def evaluate(
        self, principal: Principal, base_id: UUID, golden: Sequence[Golden], settings: Sequence[Setting]
    ) -> Evaluation:
        """Raises NotFound; BadRequest naming a relevant item that the base does not have. Reads only; searches as
        everybody does."""
        grades = await self._grades(principal, base_id, golden)
        judged = [await self._judge(principal, base_id, golden, grades, setting) for setting in settings]
        differences = [_difference(judged[0], other) for other in judged[1:]]
        by_meaning = any(setting.mode != "keyword" for setting in settings)
        probe = await self._probe(principal, base_id, golden[:PROBES_MAX]) if by_meaning else None
        return Evaluation(judged, differences, probe)

    async def _grades(
        self, principal: Principal, base_id: UUID, golden: Sequence[Golden]
    ) -> Sequence[Mapping[UUID, int]]:
        wanted = sorted({name for one in golden for name in one.relevant})
        ids = [found for name in wanted if (found := _uuid(name)) is not None]
        async with self._database.tenant(principal) as tx:
            if await tx.fetchrow(SQL.settings, principal.org_id, base_id) is None:
                raise no_base(base_id)
            rows = await tx.fetch(SQL.items_by_id_or_name, principal.org_id, base_id, ids, wanted)
        known: dict[str, list[UUID]] = {}
        for row in rows:
            known.setdefault(row["name"], []).append(row["id"])
        by_id = {row["id"] for row in rows}
        grades: list[Mapping[UUID, int]] = []
        for index, one in enumerate(golden):
            graded: dict[UUID, int] = {}
            for place, (name, grade) in enumerate(one.relevant.items()):
                graded[_item(name, by_id, known, f"queries[{index}].relevant[{place}]")] = grade
            grades.append(graded)
        return grades

    async def _judge(
        self,
        principal: Principal,
        base_id: UUID,
        golden: Sequence[Golden],
        grades: Sequence[Mapping[UUID, int]],
        setting: Setting,
    ) -> Judged:
        per_query: list[Mapping[str, float]] = []
        for one, graded in zip(golden, grades, strict=True):
            found = await self._search.search(
                principal, base_id, Asked(one.query, CHUNKS_ASKED, setting.mode, setting.alpha, rerank=setting.rerank)
            )
            per_query.append(metrics.judged(metrics.first_places([hit.item_id for hit in found.hits]), graded))
        return Judged(
            setting, {name: metrics.estimate([one[name] for one in per_query]) for name in metrics.MEASURES}, per_query
        )

    async def _probe(self, principal: Principal, base_id: UUID, golden: Sequence[Golden]) -> Probe | None:
        shares: list[float] = []
        method = "exact"
        for one in golden:
            walked = await self._search.search(
                principal, base_id, Asked(one.query, metrics.DEPTH, "semantic", explain=True, rerank=False)
            )
            scanned = await self._search.search(
                principal, base_id, Asked(one.query, metrics.DEPTH, "semantic", exact=True, rerank=False)
            )
            method = str(walked.explain.get("semantic", {}).get("method", method))
            if scanned.hits:
                # By score: of vectors that are equally near, either is right.
                edge = scanned.hits[-1].score
                shares.append(min(1.0, sum(hit.score >= edge for hit in walked.hits) / len(scanned.hits)))
        return Probe(sum(shares) / len(shares), len(shares), method) if shares else None


def _difference(first: Judged, second: Judged) -> Difference:
    pairs = list(zip(first.per_query, second.per_query, strict=True))
    return Difference(
        first.setting.name,
        second.setting.name,
        {name: metrics.estimate([b[name] - a[name] for a, b in pairs]) for name in metrics.MEASURES},
    )


def _uuid(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None


def _item(name: str, by_id: set[UUID], known: Mapping[str, Sequence[UUID]], path: str) -> UUID:
    item_id = _uuid(name)
    if item_id is not None and item_id in by_id:
        return item_id
    named = known.get(name, ())
    if len(named) > 1:
        raise BadRequest.field(path, f"names {len(named)} items of this base; give the id of the one that is meant")
    if not named:
        raise BadRequest.field(path, f"is neither the id nor the name of an item of this base: {name[:200]}")
    return named[0]
