# ruff: noqa: RUF001 — letters of many scripts
"""The index on a real database: filters, BM25 and meaning against references; replacing, deleting, isolation, large
indexes."""

import asyncio
import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import asyncpg
import numpy as np
import pytest
from numpy.typing import NDArray

from stoa.db import Database
from stoa.db.internal import internal
from stoa.index import Index, Upkeep
from stoa.index.normalizing import FORM
from stoa.index.stemming import Analysis, Stemmer
from stoa.index.types import BaseKey, Found, Mode, NewChunk, NewItem, Query
from stoa.index.words import raw_terms
from stoa.kernel.errors import BadRequest
from stoa.kernel.principal import Principal

ORG, PROJECT = UUID(int=1), UUID(int=2)
KEY = BaseKey(ORG, PROJECT, UUID(int=3))
ME = Principal(ORG, PROJECT, UUID(int=9))
TABLES = ("knowledge_indexes", "knowledge_index_items", "knowledge_chunks", "knowledge_vectors", "knowledge_postings")
Vectors = NDArray[np.float32]


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    database = await Database.open(dsn, connections_max=6)
    yield database
    await database.close()


@pytest.fixture
def index() -> Index:
    return Index()


def unit(seed: int, dimensions: int = 8) -> Vectors:
    vector = np.random.default_rng(seed).normal(size=dimensions).astype(np.float32)
    return vector / np.linalg.norm(vector)


def item(
    number: int, *texts: str, metadata: Mapping[str, Any] | None = None, vectors: Vectors | None = None, **more: Any
) -> NewItem:
    chunks = [NewChunk(text, sha256(text.encode()).digest(), page=at) for at, text in enumerate(texts, 1)]
    stacked = (
        vectors
        if vectors is not None
        else np.stack([unit(number * 1_000 + at) for at in range(len(texts))])
        if texts
        else np.zeros((0, 8), np.float32)
    )
    return NewItem(
        UUID(int=1_000 + number), metadata or {}, chunks, stacked, embedder=more.pop("embedder", "letters"), **more
    )


async def put(database: Database, index: Index, *items: NewItem, key: BaseKey = KEY) -> None:
    async with internal(database) as tx:
        for one in items:
            await index.replace(tx, key, one)


async def ask(
    database: Database,
    index: Index,
    text: str = "",
    vector: Vectors | None = None,
    key: BaseKey = KEY,
    who: Principal = ME,
    **how: Any,
) -> Found:
    how.setdefault("mode", Mode.KEYWORD if vector is None else Mode.SEMANTIC)
    async with database.tenant(who) as tx:
        return await index.search(tx, key, Query(text, **how), vector)


def numbers(found: Found) -> list[int]:
    return [hit.item_id.int - 1_000 for hit in found.hits]


async def rows(dsn: str) -> dict[str, int]:
    connection = await asyncpg.connect(dsn)
    try:
        return {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}
    finally:
        await connection.close()


async def test_items_that_are_written_together_are_found_as_if_written_one_by_one(
    database: Database, index: Index, dsn: str
) -> None:
    texts = ["The river floods the bridge.", "Der Fluss überflutet die Brücke und die Straße.", "An engine and a wing."]
    many = [
        item(number, *(f"{text} {number}" for text in texts[: number % 4]), metadata={"team": f"t{number % 2}"})
        for number in range(1, 7)
    ]
    other = BaseKey(ORG, PROJECT, UUID(int=4))
    await put(database, index, *many)
    async with internal(database) as tx:
        languages = await index.replace(tx, other, *many)
        await index.replace(tx, other, *many[2:5])
    assert len(languages) == len(many)
    for query in ("river", "brücke", "engine 3", "floods 5"):
        for filters in (None, {"team": "t1"}):
            alone, together = [
                await ask(database, index, query, key=key, **({"filters": filters} if filters else {}))
                for key in (KEY, other)
            ]
            assert {(hit.item_id, hit.text): round(hit.score, 5) for hit in together.hits} == {
                (hit.item_id, hit.text): round(hit.score, 5) for hit in alone.hits
            }
    async with internal(database) as tx:
        for key in (KEY, other):
            removed = await index.remove(tx, key, [one.item_id for one in many])
            assert removed.chunks == sum(len(one.chunks) for one in many)
    assert (await rows(dsn))["knowledge_postings"] == 0


# --- words ----------------------------------------------------------------------------------------------------------
VOCABULARY = (
    "river",
    "boat",
    "flood",
    "bridge",
    "engine",
    "wing",
    "flow",
    "pressure",
    "heat",
    "metal",
    "paper",
    "ink",
    "letter",
    "stone",
    "garden",
    "roof",
    "rain",
    "storm",
    "salt",
    "sugar",
)


async def test_keyword_scores_are_bm25(database: Database, index: Index) -> None:
    """Against the formula itself, over random texts, with items replaced and removed in between."""
    draw = random.Random(7)
    texts = {
        number: [" ".join(draw.choices(VOCABULARY, weights=range(1, 21), k=draw.randint(3, 40))) for _ in range(3)]
        for number in range(40)
    }
    await put(database, index, *(item(number, *bodies) for number, bodies in texts.items()))
    for number in (3, 17):
        texts[number] = ["storm over the garden roof", "salt"]
        await put(database, index, item(number, *texts[number]))
    async with database.tenant(ME) as tx:
        await index.remove(tx, KEY, [UUID(int=1_000 + number) for number in (5, 6)])
    del texts[5], texts[6]
    connection = await asyncpg.connect(database.session_dsn)
    stems = {
        word: (await connection.fetchval("SELECT ts_lexize('english_stem', $1)", word))
        for word in {*VOCABULARY, "over", "the"}
    }
    await connection.close()
    bags = {
        (number, at): Counter(stems[word][0] for word in body.split() if stems[word])
        for number, bodies in texts.items()
        for at, body in enumerate(bodies)
    }
    average = sum(sum(bag.values()) for bag in bags.values()) / len(bags)
    for query in ("river storm", "heat heat", "the garden roofs in rain", "salt sugar ink nowhere"):
        wanted = {
            stems[word][0] if word in stems else word
            for word in query.replace("roofs", "roof").replace(" in ", " ").replace("the ", "").split()
        }
        wanted = {"nowher" if word == "nowhere" else word for word in wanted}
        holders = {term: sum(term in bag for bag in bags.values()) for term in wanted}
        weights = {term: math.log1p((len(bags) - held + 0.5) / (held + 0.5)) for term, held in holders.items()}

        def score(bag: Counter[str], weights: Mapping[str, float] = weights) -> float:
            norm = 0.9 * (0.6 + 0.4 * sum(bag.values()) / average)
            return sum(weight * 1.9 * bag[term] / (bag[term] + norm) for term, weight in weights.items()) / (
                1.9 * sum(weights.values())
            )

        expected = sorted((round(found, 4) for bag in bags.values() if (found := score(bag)) > 0), reverse=True)[:100]
        found = await ask(database, index, query, limit=100)
        assert [hit.score for hit in found.hits] == pytest.approx(expected, abs=2e-4), query
        for hit in found.hits:
            assert hit.score == pytest.approx(score(bags[hit.item_id.int - 1_000, (hit.page or 0) - 1]), abs=2e-4)


async def test_codes_names_and_languages_are_found_exactly(database: Database, index: Index) -> None:
    await put(
        database,
        index,
        item(1, "The pump stops with ERR-4711 and is restarted by hand."),
        item(2, "The pump stops with ERR-4712; the number 4711 is a perfume."),
        item(3, "Call foo_bar.baz(x) before foo_bar.quux."),
        item(4, "Nach § 12a wird anders entschieden als nach § 12."),
        item(5, "Written in C++ and not in C#."),
        item(6, "The method getUserName gives the name."),
        item(7, "Ein Satz über 東京都庁 und mehr."),
        item(8, "Mail to ada@example.com about v1.2.3"),
    )
    for query, first in (
        ("ERR-4711", 1),
        ("err-4712", 2),
        ("what does ERR-4711 mean", 1),
        ("foo_bar.baz", 3),
        ("foo_bar", 3),
        ("§ 12a", 4),
        ("C++", 5),
        ("c#", 5),
        ("getusername", 6),
        ("user name", 6),
        ("東京", 7),
        ("ada@example.com", 8),
        ("1.2.3", 8),
    ):
        found = await ask(database, index, query)
        assert numbers(found)[:1] == [first], query
    assert 1 in numbers(await ask(database, index, "the and of")), "a query of stop words alone still finds"
    german = BaseKey(ORG, PROJECT, UUID(int=33))
    await put(
        database,
        index,
        item(1, "Die Häuser stehen am Fluss", language="german"),
        item(2, "Die Hunde bellen", language="german"),
        key=german,
    )
    assert numbers(await ask(database, index, "Haus", key=german)) == [1]
    assert numbers(await ask(database, index, "Hund", key=german)) == [2]


async def test_snippets_mark_what_matched(database: Database, index: Index) -> None:
    text = (
        "Trains are booked <b>early</b>. A hotel may cost 140 euros a night. Lunch is paid up to 25 euros. "
        + "Nothing of interest follows here. " * 30
    )
    await put(database, index, item(1, text))
    [hit] = (await ask(database, index, "hotels at night")).hits
    assert "<mark>A hotel may cost 140 euros a night.</mark>" in (hit.snippet or "")
    assert "&lt;b&gt;early&lt;/b&gt;" in (hit.snippet or "")
    assert len(hit.snippet or "") < 420
    [plain] = (await ask(database, index, "unrelated", unit(1))).hits
    assert "<mark>" not in (plain.snippet or "")


async def test_stems_of_words_are_remembered_and_what_names_somebody_is_not(database: Database) -> None:
    stemmer = Stemmer()
    asked = {"hotels,", "ada@example.com", "ERR-4711", "the", "w" * 200, "night.", "boundary-layer", "12", "(1987)"}
    wanted = ["whotel", "wada", "cerr4711", "wboundarylay", "wlayer", "c12", "c1987"]
    english = Analysis(FORM, "english")
    async with database.tenant(ME) as tx:
        for _ in range(2):  # The second time from memory.
            held = await stemmer.holders(tx, english, asked, wanted)
            assert held == {
                "hotels,": {"whotel"},
                "ada@example.com": {"wada"},
                "ERR-4711": {"cerr4711"},
                "boundary-layer": {"wboundarylay", "wlayer"},
                "12": {"c12"},
                "(1987)": {"c1987"},
            }
        assert await stemmer.holders(tx, english, asked, ["wnight"]) == {"night.": {"wnight"}}
    assert stemmer._tokens[english].tokens == {"hotels,", "the", "night.", "boundary-layer", "12"}


# --- meaning and both -----------------------------------------------------------------------------------------------
async def test_semantic_scores_are_cosines(database: Database, index: Index) -> None:
    stored = np.stack([unit(number) for number in range(60)])
    await put(database, index, *(item(number, f"text {number}", vectors=stored[number][None]) for number in range(60)))
    query = unit(999)
    found = await ask(database, index, "", query, limit=7)
    cosines = stored @ query
    assert numbers(found) == np.argsort(-cosines)[:7].tolist()
    assert [hit.score for hit in found.hits] == pytest.approx(np.maximum(np.sort(cosines)[::-1][:7], 0), abs=2e-3)
    threshold = float(np.sort(cosines)[-4]) - 0.002
    assert len((await ask(database, index, "", query, limit=50, similarity_threshold=threshold)).hits) == 4


async def test_hybrid_weighs_both_and_explains(database: Database, index: Index) -> None:
    near = unit(5)
    await put(
        database,
        index,
        item(1, "bridge over the river", vectors=unit(77)[None]),
        item(2, "nothing in common", vectors=near[None]),
        item(3, "paper"),
    )
    words = await ask(database, index, "river bridge", near, mode=Mode.HYBRID, alpha=0.0)
    meaning = await ask(database, index, "river bridge", near, mode=Mode.HYBRID, alpha=1.0)
    assert (numbers(words)[0], numbers(meaning)[0]) == (1, 2)
    both = await ask(database, index, "river bridge", near, mode=Mode.HYBRID, alpha=0.5, explain=True)
    for hit in both.hits:
        assert hit.explain is not None
        assert hit.score == pytest.approx(
            0.5 * hit.explain["semantic"]["score"] + 0.5 * hit.explain["keyword"]["score"], abs=2e-4
        )
        assert 0 <= hit.score <= 1
    assert {"open", "keyword", "semantic", "fusion", "load", "total_ms"} <= both.explain.keys()
    assert both.explain["keyword"]["terms"]["river"]["documents"] == 1
    assert all(stage["ms"] >= 0 for name, stage in both.explain.items() if name != "total_ms")


# --- filters --------------------------------------------------------------------------------------------------------
VALUES: list[Any] = [
    0,
    1,
    -1,
    2.5,
    -0.0,
    1e300,
    2**53,
    2**53 + 1,
    True,
    False,
    None,
    "",
    "a",
    "b",
    "aa",
    "1",
    "2026-01-02",
    "2026-01-02T10:00:00+02:00",
    "2025-12-31T23:59:59Z",
    ["a", "b"],
    ["a"],
    [],
    [1, "a", True],
    [1, 2],
    {"x": 1},
    [{"x": 2}, {"x": "a"}],
    "x" * 300,
    "x" * 299 + "y",
    "é",
]
FIELDS = ("f", "g", "f.x")


def reference(metadata: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """What the contract's grammar means, said as plainly as Python can."""
    if "conditions" in given:
        parts = [reference(metadata, one) for one in given["conditions"]]
        return {"AND": all(parts), "OR": any(parts), "NOT": not all(parts)}[given["operator"]]
    if "field" not in given:
        return all(
            holds(metadata, field, "in" if isinstance(value, list) else "==", value) for field, value in given.items()
        )
    return holds(metadata, given["field"], given["operator"], given["value"])


def holds(metadata: Mapping[str, Any], field: str, operator: str, wanted: Any) -> bool:
    field = field.removeprefix("metadata.")
    match operator:
        case "==":
            return equal(metadata, field, wanted)
        case "!=":
            return not equal(metadata, field, wanted)
        case "in" | "contains_any":
            return any(equal(metadata, field, one) for one in wanted)
        case "not in":
            return not any(equal(metadata, field, one) for one in wanted)
        case "contains_all":
            return all(equal(metadata, field, one) for one in wanted)
        case _:
            return any(compared(operator, value, wanted) for value in scalars(metadata, field))


def equal(metadata: Mapping[str, Any], field: str, wanted: Any) -> bool:
    held = found(metadata, field)
    if wanted is None:
        return not held
    if isinstance(wanted, list | dict):
        return any(same(value, wanted) for value in held) or any(
            same(one, wanted) for value in held if isinstance(value, list) for one in value
        )
    return any(same(value, wanted) for value in scalars(metadata, field))


def found(value: Any, field: str) -> list[Any]:
    """Every value that stands under a path; lists are looked into on the way."""
    held: list[Any] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == field and inner is not None:
                held.append(inner)
            elif field.startswith(f"{key}."):
                held += found(inner, field.removeprefix(f"{key}."))
    elif isinstance(value, list):
        for inner in value:
            held += found(inner, field)
    return held


def scalars(metadata: Mapping[str, Any], field: str) -> list[Any]:
    return [one for value in found(metadata, field) for one in flat(value)]


def flat(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [one for inner in value for one in flat(inner)]
    return [] if isinstance(value, dict) or value is None else [value]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return (type(one) in (int, float) and type(other) in (int, float) and one == other) or (
        type(one) is type(other) and one == other
    )


def moment(value: Any) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(value) if isinstance(value, str) and len(value) >= 10 else None
    except ValueError:
        return None
    return parsed if parsed is None or parsed.tzinfo else parsed.replace(tzinfo=UTC)


def compared(operator: str, value: Any, wanted: Any) -> bool:
    if isinstance(value, bool) or isinstance(value, str) != isinstance(wanted, str):
        return False
    if moment(wanted) is not None:
        if moment(value) is None:
            return False
        value, wanted = moment(value), moment(wanted)
    if isinstance(wanted, int | float):
        value, wanted = float(value), float(wanted)
    return {">": value > wanted, ">=": value >= wanted, "<": value < wanted, "<=": value <= wanted}[operator]


def random_filter(draw: random.Random, depth: int = 0) -> dict[str, Any]:
    kind = draw.random()
    if depth < 3 and kind < 0.35:
        return {
            "operator": draw.choice(["AND", "OR", "NOT"]),
            "conditions": [random_filter(draw, depth + 1) for _ in range(draw.randint(1, 3))],
        }
    field = draw.choice(["", "metadata."]) + draw.choice(FIELDS)
    if kind < 0.45:
        return {draw.choice(FIELDS): draw.choice([value for value in VALUES if not isinstance(value, dict)])}
    operator = draw.choice(["==", "!=", ">", ">=", "<", "<=", "in", "not in", "contains_any", "contains_all"])
    if operator in (">", ">=", "<", "<="):
        return {
            "field": field,
            "operator": operator,
            "value": draw.choice([value for value in VALUES if type(value) in (int, float, str)]),
        }
    value = draw.choice(VALUES) if operator in ("==", "!=") else draw.choices(VALUES, k=draw.randint(0, 3))
    return {"field": field, "operator": operator, "value": value}


async def test_filters_are_what_they_say(database: Database, index: Index) -> None:
    """Three hundred random filters over random metadata, against a plain reference, in the keyword and the semantic
    half."""
    draw = random.Random(20261125)
    stored: dict[int, dict[str, Any]] = {}
    for number in range(90):
        stored[number] = {field: draw.choice(VALUES) for field in ("f", "g") if draw.random() < 0.8}
    await put(
        database, index, *(item(number, "word", "word again", metadata=metadata) for number, metadata in stored.items())
    )
    for number in range(0, 90, 9):  # Some are changed in place.
        stored[number] = {"f": draw.choice(VALUES), "h": 1}
        async with database.tenant(ME) as tx:
            await index.set_metadata(tx, KEY, UUID(int=1_000 + number), stored[number])
    outcomes: Counter[int] = Counter()
    for _ in range(300):
        given = random_filter(draw)
        expected = {number for number, metadata in stored.items() if reference(metadata, given)}
        outcomes[len(expected)] += 1
        for found_by in (
            await ask(database, index, "word", filters=given, limit=500),
            await ask(database, index, "", unit(1), filters=given, limit=500),
        ):
            assert set(numbers(found_by)) == expected, given
            assert len(found_by.hits) == 2 * len(expected)
    assert len(outcomes) > 20, "the filters are not all trivial"


async def test_filters_that_are_none_are_refused(database: Database, index: Index) -> None:
    deep: dict[str, Any] = {"f": 1}
    for _ in range(20):
        deep = {"operator": "NOT", "conditions": [deep]}
    for given, field in (
        ({"field": "a", "operator": "~", "value": 1}, "filters.operator"),
        ({"field": "a", "operator": "in", "value": 1}, "filters.value"),
        ({"field": "a", "operator": ">", "value": [1]}, "filters.value"),
        ({"field": "a", "operator": ">", "value": True}, "filters.value"),
        ({"field": "a", "operator": "=="}, "filters.value"),
        ({"operator": "==", "value": 1}, "filters.field"),
        ({"field": 3, "operator": "==", "value": 1}, "filters.field"),
        ({"operator": "AND"}, "filters.conditions"),
        ({"operator": "AND", "conditions": []}, "filters.conditions"),
        ({"operator": "XOR", "conditions": [{"a": 1}]}, "filters.operator"),
        (
            {"operator": "AND", "conditions": [{"a": 1}, {"field": "b", "operator": "like", "value": 1}]},
            "filters.conditions[1].operator",
        ),
        ({"operator": "AND", "conditions": [1]}, "filters.conditions[0]"),
        ({"a": {"$gt": 1}}, "filters.a"),
        (deep, "filters" + ".conditions[0]" * 17),
        ({"field": "a", "operator": "in", "value": [1] * 1_001}, "filters.value"),
        ({"operator": "OR", "conditions": [{"a": 1}] * 257}, "filters"),
        ({"a": "\x00"}, "filters.a"),
    ):
        with pytest.raises(BadRequest) as refused:
            await ask(database, index, "x", filters=given)
        assert list(refused.value.details or {}) == [field], given


async def test_access_lists_restrict_searches(database: Database, index: Index) -> None:
    """Item 1 and 5 are everybody's; every other says in some form that it is not."""
    forms: list[Any] = [
        {},
        {"acl": {"users": ["ada"]}},
        {"acl": {"groups": ["staff", "hr"]}},
        {"acl": {}},
        {"acl": None},
        {"acl": {"users": []}},
        {"acl.users": ["ada"]},
        {"acl.groups": "hr"},
        {"metadata.acl.users": ["ada"]},
        {"metadata": {"ACL": {"Users": ["ada"]}}},
        {"acl": [{"users": ["ada"]}, {"groups": ["hr"]}]},
        {"acl": {"users": [42]}},
        {"acl": ["ada"]},
        {"acl": "ada"},
        {"acl.teams": ["hr"]},
        {"acl.users": None},
        {"acl.owner.users": ["ada"]},
    ]
    await put(database, index, *(item(number, "word", metadata=form) for number, form in enumerate(forms, 1)))
    for who, expected in (
        ({"user": "ada"}, {1, 2, 5, 7, 9, 10, 11}),
        ({"user": "eve"}, {1, 5}),
        ({"user": "eve", "groups": ["hr", "x"]}, {1, 3, 5, 8, 11}),
        ({"groups": ["hr"]}, {1, 3, 5, 8, 11}),
        ({"groups": ["ada"]}, {1, 5}),
        ({"groups": []}, {1, 5}),
        ({"user": "42"}, {1, 5, 12}),
        ({}, set(range(1, len(forms) + 1))),
        ({"user": "ada", "filters": {"acl.users": "ada"}}, {2, 7, 9, 10, 11}),
    ):
        assert set(numbers(await ask(database, index, "word", limit=50, **who))) == expected, who
    with pytest.raises(BadRequest):
        await ask(database, index, "word", groups=["\x00"])


async def test_flat_access_lists_of_older_versions_restrict_too(database: Database, index: Index, dsn: str) -> None:
    """Their items have no term of `acl` itself; the next change of their metadata writes it."""
    await put(database, index, item(1, "word", metadata={"acl.users": ["ada"]}))
    connection = await asyncpg.connect(dsn)
    try:
        whole = "macl\x01e"
        await connection.execute("DELETE FROM knowledge_postings WHERE term = $1", whole)
        await connection.execute("UPDATE knowledge_index_items SET terms = array_remove(terms, $1)", whole)
    finally:
        await connection.close()
    assert numbers(await ask(database, index, "word", user="eve")) == []
    assert numbers(await ask(database, index, "word", user="ada")) == [1]
    async with database.tenant(ME) as tx:
        await index.set_metadata(tx, KEY, UUID(int=1_001), {"acl.users": ["ada"], "more": 1})
    assert numbers(await ask(database, index, "word", filters={"field": "acl", "operator": "!=", "value": None})) == [1]


# --- changes --------------------------------------------------------------------------------------------------------
async def test_deletion_leaves_nothing(database: Database, index: Index, dsn: str) -> None:
    await put(
        database,
        index,
        *(item(number, "river flood " * number, "common words", metadata={"n": number}) for number in range(1, 6)),
    )
    await put(database, index, item(1, "other"), key=BaseKey(ORG, PROJECT, UUID(int=4)))
    before = await rows(dsn)
    async with database.tenant(ME) as tx:
        assert await index.remove(tx, KEY, [UUID(int=1)]) == await index.remove(
            tx, BaseKey(ORG, PROJECT, UUID(int=5)), [UUID(int=1_001)]
        )
        removed = await index.remove(tx, KEY, [UUID(int=1_002), UUID(int=1_004)])
        assert removed.chunks == 4
        assert removed.bytes > 4 * 16
    async with internal(database) as tx:
        assert await index.left_over(tx, ORG, KEY.knowledgebase_id, [UUID(int=1_002), UUID(int=1_004)]) == 0
        assert await index.left_over(tx, ORG, KEY.knowledgebase_id, [UUID(int=1_001)]) > 0, (
            "the look sees what is there"
        )
    assert sorted(set(numbers(await ask(database, index, "common river")))) == [1, 3, 5]
    assert (await rows(dsn))["knowledge_chunks"] == before["knowledge_chunks"] - 4
    async with database.tenant(ME) as tx:
        assert (await index.drop(tx, KEY)).chunks == 6
        await index.drop(tx, BaseKey(ORG, PROJECT, UUID(int=4)))
    assert await rows(dsn) == dict.fromkeys(TABLES, 0)


async def test_left_over_finds_forgotten_vectors_and_postings(database: Database, index: Index, dsn: str) -> None:
    await put(database, index, item(1, "river flood"), item(2, "river boat"))
    connection = await asyncpg.connect(dsn)
    for forgetful in ("DELETE FROM knowledge_chunks WHERE ordinal = 0", "DELETE FROM knowledge_indexes"):
        await connection.execute(forgetful)
        async with internal(database) as tx:
            assert await index.left_over(tx, ORG, KEY.knowledgebase_id, [UUID(int=1)]) > 0
    await connection.close()


async def test_a_rolled_back_change_changes_nothing(database: Database, index: Index, dsn: str) -> None:
    await put(database, index, item(1, "river flood"))
    before = await rows(dsn)
    with pytest.raises(RuntimeError):
        async with internal(database) as tx:
            await index.replace(tx, KEY, item(1, "something else", "and more"))
            await index.replace(tx, KEY, item(2, "new"))
            raise RuntimeError
    assert await rows(dsn) == before
    assert numbers(await ask(database, index, "flood")) == [1]


async def test_the_same_item_replaced_at_once_by_many(database: Database, index: Index, dsn: str) -> None:
    async with asyncio.TaskGroup() as crew:
        for round_ in range(6):
            crew.create_task(put(database, index, item(1, f"river version{round_}", f"boat version{round_}")))
            crew.create_task(put(database, index, item(round_ + 10, "storm")))
    left = await ask(database, index, "river boat", limit=50)
    assert len(left.hits) == 2
    assert len({hit.text.split()[1] for hit in left.hits}) == 1, "one version, whole"
    assert len((await ask(database, index, "storm", limit=50)).hits) == 6
    held = await rows(dsn)
    assert (held["knowledge_chunks"], held["knowledge_vectors"], held["knowledge_index_items"]) == (8, 8, 7)
    async with internal(database) as tx:
        assert await index.left_over(tx, ORG, KEY.knowledgebase_id, []) == 0


async def test_chunk_ids_outlive_an_edit(database: Database, index: Index) -> None:
    await put(database, index, item(1, "alpha river", "beta river", "gamma river"))
    before = {hit.text: hit.chunk_id for hit in (await ask(database, index, "river")).hits}
    await put(database, index, item(1, "new river", "alpha river", "beta river", "alpha river"))
    after = [(hit.text, hit.chunk_id) for hit in (await ask(database, index, "river")).hits]
    assert len(dict(after)) == 3
    assert len({chunk_id for _, chunk_id in after}) == 4
    assert before["beta river"] in {chunk_id for text, chunk_id in after if text == "beta river"}
    assert before["alpha river"] in {chunk_id for text, chunk_id in after if text == "alpha river"}


async def test_two_generations_side_by_side(database: Database, index: Index) -> None:
    following = BaseKey(ORG, PROJECT, KEY.knowledgebase_id, 2)
    await put(database, index, item(1, "old river"))
    await put(
        database,
        index,
        item(1, "new river", vectors=unit(1, 16)[None], embedder="other", language="german"),
        key=following,
    )
    assert [hit.text for hit in (await ask(database, index, "river")).hits] == ["old river"]
    assert [hit.text for hit in (await ask(database, index, "river", key=following)).hits] == ["new river"]
    assert [hit.text for hit in (await ask(database, index, "", unit(1, 16), key=following)).hits] == ["new river"]
    async with database.tenant(ME) as tx:
        assert (await index.drop(tx, KEY)).chunks == 1
    assert (await ask(database, index, "river")).hits == ()
    assert len((await ask(database, index, "river", key=following)).hits) == 1


async def test_an_empty_index_takes_another_embedder_and_a_full_one_does_not(database: Database, index: Index) -> None:
    await put(database, index, item(1, "river"))
    with pytest.raises(ValueError, match="letters"):
        await put(database, index, item(2, "boat", vectors=unit(1, 16)[None], embedder="other"))
    async with database.tenant(ME) as tx:
        await index.remove(tx, KEY, [UUID(int=1_001)])
    await put(database, index, item(2, "boat", vectors=unit(1, 16)[None], embedder="other"), item(3))
    assert numbers(await ask(database, index, "", unit(1, 16))) == [2]


async def test_known_contents_cost_no_embedding(database: Database, index: Index) -> None:
    one = item(1, "river", "boat")
    await put(database, index, one)
    hashes = [chunk.hash for chunk in one.chunks]
    async with internal(database) as tx:
        known = await index.known(tx, ORG, PROJECT, "letters", [*hashes, b"?" * 32])
        assert known.keys() == set(hashes)
        np.testing.assert_allclose(known[hashes[1]], one.vectors[1], atol=1e-3)
        assert await index.known(tx, ORG, PROJECT, "other", hashes) == {}
        assert await index.known(tx, ORG, UUID(int=7), "letters", hashes) == {}


async def test_nothing_of_other_projects(database: Database, index: Index, dsn: str) -> None:
    await put(database, index, item(1, "river"))
    for stranger in (Principal(ORG, UUID(int=8), UUID(int=9)), Principal(UUID(int=8), None, UUID(int=9))):
        assert (await ask(database, index, "river", who=stranger)).hits == ()
        async with database.tenant(stranger) as tx:
            assert (await index.remove(tx, KEY, [UUID(int=1_001)])).chunks == 0
            assert (await index.drop(tx, KEY)).chunks == 0
            await index.set_metadata(tx, KEY, UUID(int=1_001), {"a": 1})
            assert await index.known(tx, ORG, PROJECT, "letters", [sha256(b"river").digest()]) == {}
            for table in TABLES:
                assert await tx.fetchval(f"SELECT count(*) FROM {table}") == 0
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await tx.execute(
                    "INSERT INTO knowledge_vectors (org_id, project_id, index_id, ordinal, embedding) VALUES ($1, "
                    "$2, 1, 77, '[1]')",
                    ORG,
                    PROJECT,
                )
    assert len((await ask(database, index, "river", who=Principal(ORG, None, UUID(int=9)))).hits) == 1


# --- large indexes --------------------------------------------------------------------------------------------------
def many(first: int, count: int, dimensions: int = 8) -> list[NewItem]:
    return [
        item(
            number,
            *(f"river number{number}x{at} word{(number + at) % 7}" for at in range(5)),
            metadata={"part": number % 4, "half": number % 2 == 0},
            vectors=np.stack([unit(number * 100 + at, dimensions) for at in range(5)]),
        )
        for number in range(first, first + count)
    ]


async def state(dsn: str) -> dict[str, Any]:
    connection = await asyncpg.connect(dsn)
    try:
        row = await connection.fetchrow(
            "SELECT index_id, own_table, hnsw, removed, unmerged, chunks FROM knowledge_indexes"
        )
        return dict(row)
    finally:
        await connection.close()


async def narrow_policies(dsn: str) -> list[str]:
    """Tables whose policy knows one project and not several."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT tablename FROM pg_policies WHERE qual LIKE '%stoa_project()%' AND qual NOT LIKE '%stoa_projects()%'"
        )
        return [row["tablename"] for row in rows]
    finally:
        await connection.close()


async def test_a_large_index_has_a_table_of_its_own_and_loses_it_again(
    database: Database, index: Index, dsn: str
) -> None:
    upkeep = Upkeep(database, large_chunks=200, unmerged_max=100, stray_seconds=0.0)
    items = many(0, 50)
    await put(database, index, *items)
    stored = np.concatenate([one.vectors for one in items])
    query = unit(424_242)
    expected = np.argsort(-(stored @ query))[:10]
    before = await ask(database, index, "word3 number7x2", query, mode=Mode.HYBRID)
    await upkeep.tend()
    assert (await state(dsn))["own_table"]
    assert (await state(dsn))["hnsw"]
    assert await narrow_policies(dsn) == [], "whoever sees several projects sees these vectors too"
    found = await ask(database, index, "", query, limit=10, explain=True)
    assert found.explain["semantic"]["method"] == "hnsw"
    assert (
        len({(hit.item_id.int - 1_000) * 5 + (hit.page or 0) - 1 for hit in found.hits} & set(expected.tolist())) >= 9
    )
    assert [hit.chunk_id for hit in (await ask(database, index, "word3 number7x2", query, mode=Mode.HYBRID)).hits] == [
        hit.chunk_id for hit in before.hits
    ]
    halves = await ask(database, index, "", query, limit=200, filters={"half": True}, explain=True)
    assert {number % 2 for number in numbers(halves)} == {0}
    assert len(halves.hits) == 125
    # Written to, deleted from, and read by nobody else.
    await put(database, index, *many(50, 2))
    assert 51 in numbers(await ask(database, index, "", unit(5_100), limit=1))
    async with database.tenant(Principal(ORG, UUID(int=8), UUID(int=9))) as tx:
        assert await tx.fetchval(f"SELECT count(*) FROM knowledge_vectors_{(await state(dsn))['index_id']}") == 0
    async with internal(database) as tx:
        assert (await index.known(tx, ORG, PROJECT, "letters", [items[0].chunks[0].hash])).keys() == {
            items[0].chunks[0].hash
        }
    async with database.tenant(ME) as tx:
        assert (await index.remove(tx, KEY, [one.item_id for one in items[:20]])).chunks == 100
    async with internal(database) as tx:
        assert await index.left_over(tx, ORG, KEY.knowledgebase_id, [one.item_id for one in items[:20]]) == 0
    assert (await state(dsn))["removed"] == 100
    await upkeep.tend()
    assert (await state(dsn))["removed"] == 0, "its HNSW was built anew"
    async with database.tenant(ME) as tx:
        await index.remove(tx, KEY, [one.item_id for one in items[20:45]])
    await upkeep.tend()
    await upkeep.tend()
    assert not (await state(dsn))["own_table"]
    assert set(numbers(await ask(database, index, "", query, limit=100))) == set(range(45, 52))
    async with database.tenant(ME) as tx:
        await index.drop(tx, KEY)
    await upkeep.tend()
    connection = await asyncpg.connect(dsn)
    assert (
        await connection.fetchval(
            "SELECT count(*) FROM pg_class WHERE relname LIKE 'knowledge_vectors\\__%' AND relkind = 'r'"
        )
        == 0
    )
    await connection.close()
    assert await rows(dsn) == dict.fromkeys(TABLES, 0)


@pytest.mark.parametrize(
    "filters",
    [
        {"half": True},
        {"part": 3},
        {"n": [1, 17, 40, 41, 42, 99]},
        {"n": 63},
        {"operator": "NOT", "conditions": [{"n": 5}]},
    ],
)
async def test_what_a_filter_leaves_is_ranked_as_by_brute_force(
    database: Database, index: Index, filters: Mapping[str, Any]
) -> None:
    """Whichever way is taken: the shared table, ranges of a table of its own, its graph; by meaning and by both."""
    items = [
        item(
            number,
            *(f"river word{(number + at) % 7}" for at in range(5)),
            metadata={"n": number, "part": number % 4, "half": number % 2 == 0},
            vectors=np.stack([unit(number * 100 + at) for at in range(5)]),
        )
        for number in range(100)
    ]
    await put(database, index, *items)
    stored = np.concatenate([one.vectors for one in items]).astype(np.float16).astype(np.float32)
    allowed = [place for place in range(500) if reference(items[place // 5].metadata, filters)]
    query = unit(424_242)
    cosines = stored @ query.astype(np.float16).astype(np.float32)
    expected = sorted(allowed, key=lambda place: -cosines[place])[:8]
    ways: dict[str, list[UUID]] = {}
    for large in (100_000, 200):
        await Upkeep(database, large_chunks=large).tend()
        for exact in (False, True):
            found = await ask(database, index, "", query, limit=8, filters=filters, exact=exact, explain=True)
            assert [(hit.item_id.int - 1_000) * 5 + (hit.page or 0) - 1 for hit in found.hits] == expected, (
                large,
                exact,
            )
            both = await ask(
                database,
                index,
                "word3 river",
                query,
                limit=8,
                filters=filters,
                exact=exact,
                mode=Mode.HYBRID,
                explain=True,
            )
            assert {hit.item_id.int - 1_000 for hit in both.hits} <= {place // 5 for place in allowed}
            ways[f"{large} {exact} {found.explain['semantic']['method']}"] = [hit.chunk_id for hit in both.hits]
    assert len({tuple(ids) for ids in ways.values()}) == 1, ways
    assert {name.split()[-1] for name in ways} <= {"listed", "hnsw"}


async def test_a_base_with_its_own_table_is_dropped_while_it_is_searched(
    database: Database, index: Index, dsn: str
) -> None:
    await put(database, index, *many(0, 50))
    upkeep = Upkeep(database, large_chunks=200, stray_seconds=0.0)
    await upkeep.tend()
    async with internal(database) as old:
        await old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert len((await index.search(old, KEY, Query("", mode=Mode.SEMANTIC), unit(1))).hits) == 10
        async with database.tenant(ME) as tx:
            assert (await index.drop(tx, KEY)).chunks == 250
        await upkeep.tend()  # The table is still read, and stays.
        assert len((await index.search(old, KEY, Query("", mode=Mode.SEMANTIC), unit(1))).hits) == 10, (
            "as it was when the transaction began"
        )
    await upkeep.tend()
    assert await rows(dsn) == dict.fromkeys(TABLES, 0)


async def test_a_half_built_graph_is_built_again(database: Database, index: Index, dsn: str) -> None:
    await put(database, index, *many(0, 50))
    upkeep = Upkeep(database, large_chunks=200)
    await upkeep.tend()
    connection = await asyncpg.connect(dsn)
    index_id = (await state(dsn))["index_id"]
    # As a keeper leaves it that died while it built: an index that is not valid, and no word of it in the row.
    await connection.execute(
        f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'knowledge_vectors_{index_id}_a'::regclass"
    )
    await connection.execute("UPDATE knowledge_indexes SET hnsw = false")
    found = await ask(database, index, "", unit(1), explain=True)
    assert (found.explain["semantic"]["method"], len(found.hits)) == ("exact", 10)
    await upkeep.tend()
    graphs = (
        "SELECT indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE c.relname LIKE 'knowledge_vectors_' || $1 || '\\__'"
    )
    valid = await connection.fetch(graphs, str(index_id))
    assert [row["indisvalid"] for row in valid] == [True]
    assert (await state(dsn))["hnsw"]
    # Another keeper has it in hand: it is left alone.
    await connection.execute("UPDATE knowledge_indexes SET hnsw = false")
    await connection.fetchval("SELECT pg_advisory_lock(21367, $1::int)", index_id)
    await upkeep.tend()
    assert not (await state(dsn))["hnsw"]
    await connection.close()


async def test_merged_postings_say_the_same(database: Database, index: Index, dsn: str) -> None:
    await put(database, index, *many(0, 80))
    queries = ("river", "word1 word2", "number5x3", "river word6 number70x1")
    before = [
        [
            (hit.chunk_id, hit.score)
            for hit in (await ask(database, index, query, limit=100, filters={"part": [1, 2]})).hits
        ]
        for query in queries
    ]
    held = (await rows(dsn))["knowledge_postings"]
    upkeep = Upkeep(database, unmerged_max=1, merged_records=20)
    await upkeep.tend()
    assert (await rows(dsn))["knowledge_postings"] < held - 500
    async with internal(database) as tx:
        sizes = [
            row["count"]
            for row in await tx.fetch(
                "SELECT count FROM knowledge_postings WHERE term = 'wriver' ORDER BY first_ordinal"
            )
        ]
        assert len(sizes) > 1, (
            "a frequent word's records are not all in one block, which every deletion would write anew"
        )
        assert all(10 <= size < 30 for size in sizes[:-1])
    assert (await state(dsn))["unmerged"] == 0
    after = [
        [
            (hit.chunk_id, hit.score)
            for hit in (await ask(database, index, query, limit=100, filters={"part": [1, 2]})).hits
        ]
        for query in queries
    ]
    assert after == before
    gone = [UUID(int=1_000 + number) for number in range(0, 80, 3)]
    async with database.tenant(ME) as tx:
        await index.remove(tx, KEY, gone)
    await put(database, index, *many(1, 1))
    await upkeep.tend()
    async with internal(database) as tx:
        assert await index.left_over(tx, ORG, KEY.knowledgebase_id, gone) == 0
    left = set(range(80)) - {one.int - 1_000 for one in gone}
    assert set(numbers(await ask(database, index, "river", limit=500))) == left
    assert set(numbers(await ask(database, index, "river", limit=500, filters={"half": False}))) == {
        number for number in left if number % 2
    }
    async with database.tenant(ME) as tx:
        await index.remove(tx, KEY, [UUID(int=1_000 + number) for number in left])
    assert await rows(dsn) == {**dict.fromkeys(TABLES, 0), "knowledge_indexes": 1}


async def test_searches_answer_while_items_are_replaced_and_indexes_move(database: Database, index: Index) -> None:
    """Every item always has exactly one version, whole, whatever happens to the index meanwhile."""
    await put(database, index, *(item(number, f"river v0 i{number}", f"boat v0 i{number}") for number in range(30)))
    upkeep = Upkeep(database, large_chunks=40, unmerged_max=50)
    done = asyncio.Event()

    async def replacing() -> None:
        for version in range(1, 6):
            for number in range(30):
                await put(database, index, item(number, f"river v{version} i{number}", f"boat v{version} i{number}"))
        done.set()

    async def tending() -> None:
        while not done.is_set():
            await upkeep.tend()

    looks = 0
    async with asyncio.TaskGroup() as crew:
        crew.create_task(replacing())
        crew.create_task(tending())
        while not done.is_set():
            async with internal(database) as tx:
                await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                for mode in (Mode.KEYWORD, Mode.SEMANTIC, Mode.HYBRID):
                    found = await index.search(tx, KEY, Query("river boat", limit=100, mode=mode), unit(1))
                    assert sorted(numbers(found)) == sorted([*range(30), *range(30)]), mode
            looks += 1
    assert looks > 5


async def test_dimensions_beyond_the_graph_are_scanned(database: Database, index: Index, dsn: str) -> None:
    await put(database, index, *(item(number, "text", vectors=unit(number, 4_500)[None]) for number in range(12)))
    await Upkeep(database, large_chunks=10).tend()
    assert not (await state(dsn))["own_table"]
    assert numbers(await ask(database, index, "", unit(7, 4_500), limit=1)) == [7]


def test_terms_of_texts() -> None:
    def terms(text: str) -> Sequence[str]:
        return list(raw_terms(text))

    assert terms("The ERR-4711 of 2026") == ["wthe", "aerr", "c4711", "wof", "c2026", "cerr4711"]
    assert "c§12a" in terms("§ 12a")
    assert {"wfoobarbaz", "wfoobar", "wfoo", "wbar", "wbaz"} <= set(terms("foo_bar.baz"))
    assert {"wgetusername", "wget", "wuser", "wname"} <= set(terms("getUserName"))
    assert {"cerr4711", "werr", "c4711"} <= set(terms("ERR4711"))
    assert terms("1,000,000") == ["c1", "c000", "c000", "c1000000"]
    assert terms("don't") == ["wdon", "wt", "wdont"]
    assert all(len(term) <= 65 for term in terms("x" * 500 + "-" + "y" * 500))


# --- the normal form ------------------------------------------------------------------------------------------------
async def test_accents_are_matched_with_and_without_and_the_exact_form_ranks_higher(
    database: Database, index: Index
) -> None:
    await put(
        database,
        index,
        item(1, "Please send your resume to the office before noon."),
        item(2, "Please send your résumé to the office before noon."),
        item(3, "Please send your dessert to the office before noon."),
        item(4, "Please send Mr Müller to the office before noon."),
    )
    assert numbers(await ask(database, index, "resume")) == [1, 2]
    assert numbers(await ask(database, index, "résumé")) == [2, 1]
    for written in ("Müller", "muller", "Mueller", "MÜLLER", "Mu\u0308ller"):
        found = await ask(database, index, written)
        assert numbers(found) == [4], written
        assert "<mark>" in (found.hits[0].snippet or ""), written


async def test_compounds_are_found_by_their_parts(database: Database, index: Index) -> None:
    await put(
        database,
        index,
        item(1, "Die Urlaubsanträge der Abteilung sind bis zum Freitag mit dem Formular an das Büro zu geben."),
        item(2, "Der Antrag und das Formular sind bis zum Freitag an das Büro der Abteilung zu geben."),
        item(3, "Das Fahrrad ist bis zum Freitag an der Ladestation im Büro der Abteilung abzugeben."),
    )
    for asked, found in (("Antrag", [2, 1]), ("Urlaub", [1]), ("anträge", [2, 1]), ("Station", [3]), ("Rad", [])):
        answer = await ask(database, index, asked)
        assert numbers(answer) == found, asked
        assert all("<mark>" in (hit.snippet or "") for hit in answer.hits), asked


async def test_each_item_is_stemmed_in_its_own_language(database: Database, index: Index) -> None:
    await put(
        database,
        index,
        item(1, "Die Verträge werden von der Geschäftsführung geprüft, und die Fristen sind nicht zu ändern."),
        item(2, "Договоры проверяются руководством, и сроки не меняются без согласия сторон."),
        item(3, "The contracts are checked by the management, and the notices were given in writing."),
        item(4, "İSTANBUL ofisi IĞDIR için de çalışır ve bu iki ofis bir bütün olarak değerlendirilir."),
    )
    for asked, first in (("Vertrags", 1), ("Frist", 1), ("договор", 2), ("срок", 2), ("contract", 3), ("notice", 3)):
        assert numbers(await ask(database, index, asked))[:1] == [first], asked
    for asked in ("istanbul", "İstanbul", "ISTANBUL", "ığdır", "IĞDIR", "igdir"):
        assert numbers(await ask(database, index, asked)) == [4], asked


async def test_repeated_words_count_and_names_of_stop_words_are_found(database: Database, index: Index) -> None:
    await put(
        database,
        index,
        item(1, "WHO guidelines for the office."),
        item(2, "Those who stay in the office."),
        item(3, "pump pump pump valve", "valve"),
        item(4, "Whatever.", title="vacation-policy-2024.md"),
    )
    assert numbers(await ask(database, index, "WHO"))[0] == 1
    assert numbers(await ask(database, index, "vacation policy")) == [4], "names of files are found"
    once = (await ask(database, index, "pump valve", limit=10)).hits
    often = (await ask(database, index, "pump valve valve valve", limit=10)).hits
    share = [hits[-1].score / hits[0].score for hits in (once, often)]
    assert share[1] > share[0], "a word that is repeated weighs more"


async def test_an_embedder_of_another_language_weighs_less(database: Database, index: Index) -> None:
    german = "Der Vertrag und die Frist sind nicht mehr als das, was in der Anlage steht."
    await put(database, index, item(1, german, language="german"), item(2, "Die Frist ist das.", language="german"))
    vector = unit(1)
    shown = [
        (await ask(database, index, "Frist", vector, mode=Mode.HYBRID, explain=True, embedder_language=one)).explain
        for one in (None, "german", "english")
    ]
    assert [one["fusion"]["alpha"] for one in shown] == [0.4, 0.4, pytest.approx(0.3)]


async def test_what_stands_around_the_best_chunk_of_an_item_counts(database: Database, index: Index) -> None:
    """Two items of equal best chunks: one goes on about it, in the words of the query and in meaning."""
    east, north = np.eye(8, dtype=np.float32)[:2]
    await put(
        database,
        index,
        item(1, "river boat", "paper and glue", vectors=np.stack([east, -east])),
        item(2, "river boat", "a harbour", vectors=np.stack([east, north])),
        item(3, "river boat", "a boat", vectors=np.stack([east, -east])),
        item(4, "something else", vectors=np.stack([north])),
    )
    for mode, best in ((Mode.SEMANTIC, {2}), (Mode.KEYWORD, {3})):
        found = await ask(database, index, "river boat", mode=mode, vector=(east + 0.5 * north), one_per_item=True)
        scores = {hit.item_id.int - 1_000: hit.score for hit in found.hits}
        assert {number for number, score in scores.items() if score == max(scores.values())} == best, mode
        assert all(0 <= score <= 1 for score in scores.values())


async def test_one_hit_per_item(database: Database, index: Index) -> None:
    await put(
        database,
        index,
        item(1, *["river boat"] * 30),
        item(2, "river"),
        item(3, "boat", "nothing"),
    )
    found = await ask(database, index, "river boat", limit=3, one_per_item=True)
    assert sorted(numbers(found)) == [1, 2, 3]
    assert numbers(found)[0] == 1


async def test_an_older_index_answers_in_its_own_form_until_it_is_built_anew(
    database: Database, index: Index, dsn: str
) -> None:
    await put(database, index, item(1, "Projekt**nummer** ERR-4711", metadata={"team": "a"}), item(2, "Verträge"))
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("UPDATE knowledge_indexes SET form = 1, languages = '{}'")
        await connection.execute("DELETE FROM knowledge_postings WHERE left(term, 1) <> 'm'")
        await connection.execute(
            "UPDATE knowledge_index_items SET language = NULL, "
            "terms = array(SELECT t FROM unnest(terms) t WHERE left(t, 1) = 'm')"
        )
        await put(database, index, item(3, "Projekt**nummer** ERR-4711 the"))
        terms = {row["term"] for row in await connection.fetch("SELECT term FROM knowledge_postings")}
        assert "cerr-4711" in terms, "a writer keeps the form of the index"
        assert not any(term[0] in "sfau" for term in terms)
        assert numbers(await ask(database, index, "ERR-4711")) == [3]
        assert numbers(await ask(database, index, "Projektnummer")) == []
        await asyncio.gather(Upkeep(database).tend(), Upkeep(database).tend())
        assert await connection.fetchval("SELECT form FROM knowledge_indexes") == FORM
        before = await connection.fetch("SELECT term, records FROM knowledge_postings ORDER BY term, first_ordinal")
        assert sorted(numbers(await ask(database, index, "Projektnummer ERR4711"))) == [1, 3]
        assert numbers(await ask(database, index, "Projektnummer", filters={"team": "a"})) == [1]
        assert "<mark>" in ((await ask(database, index, "Projektnummer")).hits[0].snippet or "")
        await Upkeep(database).tend()
        after = await connection.fetch("SELECT term, records FROM knowledge_postings ORDER BY term, first_ordinal")
        assert before == after
    finally:
        await connection.close()
    async with internal(database) as tx:
        await index.remove(tx, KEY, [UUID(int=1_000 + number) for number in (1, 2, 3)])
    assert numbers(await ask(database, index, "Projektnummer Verträge")) == []
