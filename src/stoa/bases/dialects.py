"""OpenAI's vector-store search: the same index and results in that API's format."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

from pydantic import Field

from stoa.bases import rules, wire_in
from stoa.bases.searching import Asked, shown
from stoa.http import Body, Wire
from stoa.index import Found
from stoa.kernel.errors import BadRequest

_COMPARISONS: Final = {
    "eq": "==",
    "ne": "!=",
    "gt": ">",
    "gte": ">=",
    "lt": "<",
    "lte": "<=",
    "in": "in",
    "nin": "not in",
}
_DEPTH_MAX: Final = 16


class RankingOptions(Body):
    ranker: str | None = None
    score_threshold: Annotated[float, Field(ge=0, le=1)] | None = None


class VectorStoreSearch(Body):
    """A field that is not known is refused: it may be a misspelt restriction, and without it more would be found."""

    example: ClassVar[Mapping[str, Any]] = {"query": "notice period", "max_num_results": 5}

    query: wire_in.QueryText | Annotated[list[wire_in.QueryText], Field(min_length=1, max_length=16)]
    max_num_results: Annotated[int, Field(ge=1, le=50)] = 10
    filters: dict[str, Any] | None = None
    ranking_options: RankingOptions | None = None
    rewrite_query: bool | None = None


class ContentWire(Wire):
    type: Literal["text"]
    text: str


class ResultWire(Wire):
    file_id: UUID
    filename: str
    score: float
    attributes: dict[str, Any]
    content: list[ContentWire]


class ResultsWire(Wire):
    object: Literal["vector_store.search_results.page"]
    search_query: list[str]
    data: list[ResultWire]
    has_more: bool


def asked(body: VectorStoreSearch) -> Asked:
    text = body.query if isinstance(body.query, str) else "\n".join(body.query)
    if len(text) > rules.QUERY_CHARACTERS_MAX:
        raise BadRequest.field("query", f"holds more than {rules.QUERY_CHARACTERS_MAX} characters")
    threshold = body.ranking_options.score_threshold if body.ranking_options else None
    return Asked(
        text,
        body.max_num_results,
        filters=_filters(body.filters, "filters", 0) if body.filters else None,
        similarity_threshold=threshold,
    )


def results(body: VectorStoreSearch, found: Found) -> ResultsWire:
    data = [
        ResultWire(
            file_id=hit.item_id,
            filename=str(hit.metadata.get("source", "")),
            score=hit.score,
            attributes=_attributes(shown(hit)),
            content=[ContentWire(type="text", text=hit.text)],
        )
        for hit in found.hits
    ]
    queries = [body.query] if isinstance(body.query, str) else body.query
    return ResultsWire(object="vector_store.search_results.page", search_query=queries, data=data, has_more=False)


def _attributes(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """That API's attributes are strings, numbers and booleans: the rows of a piece of a table become "first-last"."""
    found = {name: value for name, value in metadata.items() if isinstance(value, str | int | float)}
    match metadata.get("rows"):
        case [int(first), int(last)]:
            found["rows"] = f"{first}-{last}"
        case _:
            pass
    return found


def _filters(given: Mapping[str, Any], path: str, depth: int) -> dict[str, Any]:
    """`{type: eq, key, value}` and `{type: and|or, filters}` as the contract's grammar."""
    if depth > _DEPTH_MAX:
        raise BadRequest.field(path, f"is nested deeper than {_DEPTH_MAX}")
    kind = given.get("type")
    for other in given.keys() - ({"type", "filters"} if kind in ("and", "or") else {"type", "key", "value"}):
        raise BadRequest.field(f"{path}.{other}", "is not known here")
    if kind in ("and", "or"):
        inner = given.get("filters")
        if not isinstance(inner, list) or not inner or not all(isinstance(one, dict) for one in inner):
            raise BadRequest.field(f"{path}.filters", "must be a list of filters")
        return {
            "operator": kind.upper(),
            "conditions": [_filters(one, f"{path}.filters[{index}]", depth + 1) for index, one in enumerate(inner)],
        }
    if kind not in _COMPARISONS:
        raise BadRequest.field(f"{path}.type", f"must be one of and, or, {', '.join(_COMPARISONS)}")
    if not isinstance(given.get("key"), str) or "value" not in given:
        raise BadRequest.field(path, "needs a key and a value")
    return {"field": given["key"], "operator": _COMPARISONS[kind], "value": given["value"]}
