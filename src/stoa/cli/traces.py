"""`stoa traces`: runs of this server and spans of other programs."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from stoa.cli.asking import HERE, All, Json, Key, Limit, Url, Yes, ask, ask_all, confirm, deleted, print_json
from stoa.cli.tables import Columns, print_table, show_list
from stoa.cli.text import cell

app = typer.Typer(no_args_is_help=True, help="Traces: what ran, how long, at what cost.")
Trace = Annotated[str, typer.Argument(help="The trace's id, from `stoa traces list`.")]


@app.command("list")
def list_traces(
    status: Annotated[list[str] | None, typer.Option(help="succeeded, failed, canceled or running. Repeat it.")] = None,
    name: Annotated[str | None, typer.Option(help="A part of the name.")] = None,
    words: Annotated[str | None, typer.Option("--query", help="Words that all stand in one step.")] = None,
    model: Annotated[str | None, typer.Option(help="A model that it called.")] = None,
    min_cost: Annotated[float | None, typer.Option(help="Cost in US dollars, at least.")] = None,
    min_seconds: Annotated[float | None, typer.Option(help="How long it took, at least.")] = None,
    limit: Limit = 25,
    everything: All = False,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """List traces, the newest first."""
    given = {"name": name, "q": words, "model": model, "cost_usd_min": min_cost, "seconds_min": min_seconds}
    filters = [(key, value) for key, value in given.items() if value is not None]
    query = urlencode([*(("status", one) for one in status or []), *filters])
    columns: Columns = {
        "id": "id",
        "name": "name",
        "status": "status",
        "seconds": "duration_seconds",
        "spans": "run_count",
        "tokens": "total_tokens",
        "usd": "cost_usd",
        "started": "start_time",
    }
    found = ask_all(url, key, "/v1/traces" + (f"?{query}" if query else ""), None if everything else limit)
    show_list(found, columns, as_json=as_json, nothing="There are no such traces.")


@app.command("show")
def show(trace: Trace, as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """Print a trace as a tree of its spans."""
    found = ask("GET", url, key, f"/v1/traces/{trace}")["data"]
    if as_json:
        print_json(found)
        return
    spans: list[dict[str, Any]] = found["runs"]
    rows = [
        ("  " * depth + one["name"], one["type"], cell(one.get("status")), one["start_time"], one.get("end_time", ""))
        for depth, one in _tree(spans)
    ]
    print_table(("span", "type", "status", "started", "ended"), rows)


@app.command("diff")
def diff(
    trace: Trace,
    other: Annotated[str, typer.Argument(help="The id of another trace.")],
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Print two traces step by step: what differs, and what only one of them has."""
    found = ask("GET", url, key, f"/v1/traces/{trace}/diff?{urlencode({'other': other})}")["data"]
    if as_json:
        print_json(found)
        return
    signs = {"same": " ", "changed": "~", "removed": "-", "added": "+"}
    rows = [
        (signs[one["change"]] + " " + "  " * one["depth"] + one["name"], ", ".join(one["changed"]))
        for one in found["steps"]
    ]
    print_table(("step", "differs in"), rows)


@app.command("delete")
def delete(trace: Trace, yes: Yes = False, url: Url = HERE, key: Key = None) -> None:
    """Delete a trace that another program has sent, for good."""
    confirm(f"Delete the trace {trace} for good?", yes=yes)
    deleted(url, key, f"/v1/traces/{trace}")


def _tree(spans: Sequence[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Parents before children, each span once: spans from other programs may have cycles."""
    below: dict[str | None, list[dict[str, Any]]] = {}
    known = {one["id"] for one in spans}
    for one in spans:
        parent = one.get("parent_run_id")
        below.setdefault(parent if parent in known else None, []).append(one)
    seen: set[str] = set()
    left = [(0, one) for one in reversed(below.get(None, []))]
    while left:
        depth, one = left.pop()
        if one["id"] not in seen:
            seen.add(one["id"])
            yield depth, one
            left += [(depth + 1, child) for child in reversed(below.get(one["id"], []))]
    yield from ((0, one) for one in spans if one["id"] not in seen)
