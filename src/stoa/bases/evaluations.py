"""The route that measures a base's search with a golden set, and its shapes."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from stoa.bases import rules
from stoa.bases.evaluating import (
    QUERIES_MAX,
    RELEVANT_MAX,
    SETTINGS_MAX,
    Difference,
    Evaluation,
    Evaluations,
    Golden,
    Judged,
    Setting,
)
from stoa.bases.retrieval_metrics import Estimate
from stoa.http import Body, Data, Gate, Routes, Wire, refusals
from stoa.http.wire import not_blank
from stoa.kernel.errors import BadRequest
from stoa.kernel.principal import Principal

Grade = Annotated[int, Field(ge=1, le=10)]
ItemName = Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(not_blank)]


class GoldenIn(Body):
    """A query and what answers it: item ids or names, as a list, or with grades from 1 (helps) up (is exactly it)."""

    query: Annotated[str, Field(max_length=rules.QUERY_CHARACTERS_MAX), AfterValidator(not_blank)]
    relevant: (
        Annotated[list[ItemName], Field(min_length=1, max_length=RELEVANT_MAX)]
        | Annotated[dict[ItemName, Grade], Field(min_length=1, max_length=RELEVANT_MAX)]
    )


class SettingIn(Body):
    """A way to search; what is left out is the base's own."""

    name: Annotated[str, Field(max_length=100), AfterValidator(not_blank)] | None = None
    mode: Literal["semantic", "keyword", "hybrid"] | None = None
    alpha: Annotated[float, Field(ge=0, le=1)] | None = None
    rerank: bool | None = None


THREE_MODES: Final = (SettingIn(mode="hybrid"), SettingIn(mode="keyword"), SettingIn(mode="semantic"))


class EvaluateIn(Body):
    """Without `settings` the three modes are compared. The others are compared with the first setting."""

    example: ClassVar[Mapping[str, Any]] = {"queries": [{"query": "notice period", "relevant": ["contract.pdf"]}]}

    queries: Annotated[list[GoldenIn], Field(min_length=1, max_length=QUERIES_MAX)]
    settings: Annotated[list[SettingIn], Field(min_length=1, max_length=SETTINGS_MAX)] | None = None


class EstimateWire(Wire):
    """A mean over the queries with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


class MeasuresWire(Wire):
    ndcg_at_10: EstimateWire
    recall_at_10: EstimateWire
    mrr: EstimateWire


class QueryWire(Wire):
    query: str
    ndcg_at_10: float
    recall_at_10: float
    mrr: float


class JudgedWire(Wire):
    name: str
    mode: str | None
    alpha: float | None
    measures: MeasuresWire
    queries: Sequence[QueryWire]


class DifferenceWire(Wire):
    """The difference of `name` to `than`, per query: an interval that contains 0 means no significant difference."""

    name: str
    than: str
    measures: MeasuresWire


class ProbeWire(Wire):
    """How many of each query's ten nearest chunks a search finds; `method` says whether it scanned
    all of them (exact) or walked the HNSW graph."""

    recall_at_10: float
    queries: int
    method: str


class EvaluationWire(Wire):
    settings: Sequence[JudgedWire]
    differences: Sequence[DifferenceWire]
    probe: ProbeWire | None


def evaluation_routes(evaluations: Evaluations, gate: Gate) -> Routes:
    router = Routes(tags=["knowledge bases"])

    @router.post("/v1/knowledgebases/{knowledgebase_id}/evaluate", responses=refusals(404))
    async def evaluate_base(
        knowledgebase_id: UUID, body: EvaluateIn, principal: Annotated[Principal, gate("knowledge:read")]
    ) -> Data[EvaluationWire]:
        """Asks a golden set with up to four settings: nDCG@10, recall@10 and MRR with intervals, and the differences
        query by query."""
        golden = [
            Golden(one.query, one.relevant if isinstance(one.relevant, dict) else dict.fromkeys(one.relevant, 1))
            for one in body.queries
        ]
        return Data(
            data=_evaluation(
                await evaluations.evaluate(
                    principal, knowledgebase_id, golden, _settings(body.settings or THREE_MODES)
                ),
                golden,
            )
        )

    return router


def _settings(given: Sequence[SettingIn]) -> Sequence[Setting]:
    found: list[Setting] = []
    for index, one in enumerate(given):
        alpha = [f"alpha {one.alpha:g}"] if one.alpha is not None else []
        rerank = [] if one.rerank is None else ["reranked" if one.rerank else "not reranked"]
        name = one.name or " ".join([one.mode or "as configured", *alpha, *rerank])
        if any(other.name == name for other in found):
            raise BadRequest.field(f"settings[{index}].name", f"is not the only one named {name}")
        found.append(Setting(name, one.mode, one.alpha, one.rerank))
    return found


def _evaluation(value: Evaluation, golden: Sequence[Golden]) -> EvaluationWire:
    return EvaluationWire(
        settings=[_judged(one, golden) for one in value.judged],
        differences=[_difference(one) for one in value.differences],
        probe=ProbeWire(
            recall_at_10=round(value.probe.recall, 4), queries=value.probe.queries, method=value.probe.method
        )
        if value.probe
        else None,
    )


def _judged(value: Judged, golden: Sequence[Golden]) -> JudgedWire:
    queries = [
        QueryWire(
            query=one.query,
            ndcg_at_10=round(found["ndcg@10"], 4),
            recall_at_10=round(found["recall@10"], 4),
            mrr=round(found["mrr"], 4),
        )
        for one, found in zip(golden, value.per_query, strict=True)
    ]
    return JudgedWire(
        name=value.setting.name,
        mode=value.setting.mode,
        alpha=value.setting.alpha,
        measures=_measures(value.estimates),
        queries=queries,
    )


def _difference(value: Difference) -> DifferenceWire:
    return DifferenceWire(name=value.second, than=value.first, measures=_measures(value.estimates))


def _measures(estimates: Mapping[str, Estimate]) -> MeasuresWire:
    return MeasuresWire(
        ndcg_at_10=_estimate(estimates["ndcg@10"]),
        recall_at_10=_estimate(estimates["recall@10"]),
        mrr=_estimate(estimates["mrr"]),
    )


def _estimate(value: Estimate) -> EstimateWire:
    return EstimateWire(mean=round(value.mean, 4), low=round(value.low, 4), high=round(value.high, 4))
