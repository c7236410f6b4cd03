"""Measures a knowledge base's search with questions whose answers are known."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import orjson
from starlette.responses import Response
from starlette.routing import Route

from stoa.console import charts
from stoa.console.api import page
from stoa.console.client import Refused
from stoa.console.examples import Call
from stoa.console.view import View

QUESTIONS_SHOWN: Final = 100
MODES: Final = ("hybrid", "keyword", "semantic")
MEASURES: Final = ("ndcg_at_10", "recall_at_10", "mrr")
EXAMPLE: Final = {"queries": [{"query": "notice period", "relevant": ["contract.pdf"]}]}


def routes() -> Sequence[Route]:
    return [page("/console/knowledge/{id:uuid}/evaluate", _evaluate, ("GET", "POST"))]


async def _evaluate(view: View) -> Response:
    where = f"/v1/knowledgebases/{view.request.path_params['id']}"
    base = (await view.api.get(where))["data"]
    form = await view.form() if view.request.method == "POST" else {}
    golden = form.get("golden", [""])[0]
    chosen = [mode for mode in form.get("mode", MODES) if mode in MODES] or list(MODES)
    result, problem, body = None, None, EXAMPLE
    if view.request.method == "POST":
        queries, bad = questions(golden)
        if bad:
            problem = view.translate(
                "Line {line} cannot be read: write the question, a bar, and the name of the item.", line=bad
            )
        elif not queries:
            problem = view.translate("Write at least one question with the name of the item that answers it.")
        else:
            body = {"queries": queries, "settings": [{"mode": mode} for mode in chosen]}
            try:
                result = (await view.api.post(f"{where}/evaluate", body))["data"]
            except Refused as refusal:
                problem = refusal.message
    return view.page(
        "evaluate.html", "knowledge", base["name"], [Call("POST", f"{where}/evaluate", body=body)],
        base=base, tab="evaluate", golden=golden, modes=MODES, chosen=chosen, problem=problem, result=result,
        measures=MEASURES, bars=_bars(result) if result else {}, worst=_worst(result) if result else [],
    )  # fmt: skip


def questions(text: str) -> tuple[list[dict[str, Any]], int | None]:
    """(the golden set, the number of the first invalid line). A line is `question | item, item`, or the JSON of one
    question in the format of `stoa kb evaluate`."""
    found: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        one = _json(line) if line.lstrip().startswith("{") else _plain(line)
        if one is None:
            return [], number
        found.append(one)
    return found, None


def _json(line: str) -> dict[str, Any] | None:
    try:
        read: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return cast("dict[str, Any]", read) if isinstance(read, dict) and {"query", "relevant"} <= set(read) else None  # pyright: ignore[reportUnknownArgumentType]


def _plain(line: str) -> dict[str, Any] | None:
    query, bar, items = line.rpartition("|")
    relevant = [one.strip() for one in items.split(",") if one.strip()]
    return {"query": query.strip(), "relevant": relevant} if bar and query.strip() and relevant else None


def _bars(result: Mapping[str, Any]) -> Mapping[str, Sequence[charts.Interval]]:
    return {
        measure: charts.intervals([(one["name"], one["measures"][measure]) for one in result["settings"]])
        for measure in MEASURES
    }


def _worst(result: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Each question with its nDCG in every setting, worst first: a question with 0 shows what the base lacks."""
    settings = result["settings"]
    rows = [
        {"query": one["query"], "scores": [other["queries"][index]["ndcg_at_10"] for other in settings]}
        for index, one in enumerate(settings[0]["queries"])
    ]
    return sorted(rows, key=lambda row: max(row["scores"]))[:QUESTIONS_SHOWN]
