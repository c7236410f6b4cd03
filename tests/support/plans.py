"""What a statement reads, from PostgreSQL's query plan: which tables, and by which conditions.

The plan is the generic one (`$1` stays `$1`) of the role that owns the tables. Row-level security does not apply to it,
so a condition in the plan was written in the statement.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

import asyncpg

_CONDITIONS: Final = (
    "Index Cond",
    "Recheck Cond",
    "TID Cond",
    "Filter",
    "Hash Cond",
    "Merge Cond",
    "Join Filter",
    "One-Time Filter",
)


_HASHED: Final = re.compile(r"([\w.\"]+) = \(hashed (SubPlan \d+)\)\.col(\d+)")


async def plan_of(connection: asyncpg.Connection, statement: str) -> Mapping[str, Any]:
    prepared = await connection.prepare(statement)
    nulls = ", ".join("NULL" for _ in prepared.get_parameters())
    await connection.execute(f"PREPARE planned AS {statement}")
    try:
        (text,) = await connection.fetchrow(
            f"EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) EXECUTE planned {f'({nulls})' if nulls else ''}"
        )
    finally:
        await connection.execute("DEALLOCATE planned")
    plan: Mapping[str, Any] = json.loads(text)[0]["Plan"]
    return plan


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def scans_without(column: str, plan: Mapping[str, Any], tables: AbstractSet[str]) -> Sequence[str]:
    """Scans of these tables whose `column` is not bound by an equality to a value from outside of them: a parameter, a
    setting, or another table's row. Two that are only equal to each other are unbound."""
    found = list(nodes(plan))
    scans = {
        str(node["Alias"]): str(node["Relation Name"])
        for node in found
        if node.get("Relation Name") in tables and node.get("Node Type") != "ModifyTable"
    }
    bound: set[str] = set()
    equal: list[tuple[str, str]] = []
    # The heap scan above a Bitmap Index Scan has its condition as Recheck Cond, with OR where there is one.
    read = [node for node in found if node["Node Type"] != "Bitmap Index Scan"]
    for condition in (str(node[kind]) for node in read for kind in _CONDITIONS if kind in node):
        for left, right in _equalities(condition):
            inside = [alias for alias in (_alias(column, left), _alias(column, right)) if alias in scans]
            if len(inside) == 2:
                equal.append((inside[0], inside[1]))
            else:
                bound.update(inside)
    hashed = _hashed(column, found)
    bound |= {inner for outer, inner in hashed if outer not in scans}
    while (
        grown := {end for pair in equal if bound & {*pair} for end in pair}
        | {inner for outer, inner in hashed if outer in bound}
    ) - bound:
        bound |= grown
    return [f"{table} {alias}" for alias, table in scans.items() if alias not in bound]


def _hashed(column: str, found: Sequence[Mapping[str, Any]]) -> Sequence[tuple[str | None, str]]:
    """(outer, inner) of each hashed subquery: PostgreSQL looks up its rows by the outer row's value, without a
    condition in the subquery itself."""
    outputs = {str(node["Subplan Name"]): node.get("Output", ()) for node in found if "Subplan Name" in node}
    pairs: list[tuple[str | None, str]] = []
    for condition in (str(node[kind]) for node in found for kind in _CONDITIONS if kind in node):
        for outer, name, place in _HASHED.findall(condition):
            inner = _alias(column, outputs[name][int(place) - 1])
            if inner is not None:
                pairs.append((_alias(column, outer), inner))
    return pairs


def _equalities(condition: str) -> Iterator[tuple[str, str]]:
    """Both sides of each equality that must hold: parts of AND, but not of OR."""
    for part in _split(_bare(condition), " AND "):
        bare = _bare(part)
        if len(_split(bare, " AND ")) > 1:
            yield from _equalities(bare)
        elif len(sides := _split(bare, " = ")) == 2:
            yield sides[0], sides[1]


def _split(text: str, separator: str) -> list[str]:
    """Splits at this separator, outside of parentheses and quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for position, letter in enumerate(text):
        quoted ^= letter == "'"
        if not quoted:
            depth += (letter == "(") - (letter == ")")
            if depth == 0 and text.startswith(separator, position):
                parts.append(text[start:position])
                start = position + len(separator)
    return [*parts, text[start:]]


def _bare(text: str) -> str:
    """Removes parentheses that enclose the whole text."""
    while text.startswith("(") and _encloses(text):
        text = text[1:-1]
    return text


def _encloses(text: str) -> bool:
    depth = 0
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return position == len(text) - 1
    return False


def _alias(column: str, operand: str) -> str | None:
    alias, _, name = _bare(operand).rpartition(".")
    return alias.strip('"') if name == column else None
