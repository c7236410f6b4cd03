"""An index that was searched before is opened and asked in one statement, and answers as one that was not."""

from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from stoa.db import Database
from stoa.db.internal import internal
from stoa.index import Index
from stoa.index.types import BaseKey, Mode, NewChunk, NewItem, Query
from stoa.kernel.principal import Principal

KEY = BaseKey(UUID(int=1), UUID(int=2), UUID(int=3))
ME = Principal(KEY.org_id, KEY.project_id, UUID(int=9))
STRANGER = Principal(UUID(int=4), UUID(int=5), UUID(int=9))
ENGLISH = "The notice period for every employee of the company is three months, and it begins with the next month."
RUSSIAN = "Срок уведомления для каждого сотрудника компании составляет три месяца и начинается в следующем месяце."
GERMAN = "Der Urlaubsantrag ist spätestens zwei Wochen vor dem Beginn der Reise bei der Abteilung einzureichen."
QUERIES = ("notice periods", "сотрудники", "Antrag", "months месяцы Reise", "the", "nothing of this")


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    database = await Database.open(dsn, connections_max=3)
    yield database
    await database.close()


async def test_a_changed_index_is_read_again(database: Database) -> None:
    """Each time the first question is one that the row of before would answer in another way."""
    index = Index()
    await _put(database, index, 0, ENGLISH)
    await _same_as_if_new(database, index, "notice periods")
    await _put(database, index, 1, RUSSIAN)  # Another language: its words have other stems.
    await _same_as_if_new(database, index, "сотрудники")
    assert await _found(database, index, "сотрудники", Mode.KEYWORD)
    async with internal(database) as tx:
        await index.drop(tx, KEY)
    assert not await _found(database, index, "notice", Mode.KEYWORD)
    await _put(database, index, 7, ENGLISH.replace("three", "nine"))  # Another index, under another id.
    await _same_as_if_new(database, index, "notice")
    [hit] = await _found(database, index, "notice", Mode.KEYWORD)
    assert "nine months" in hit.text
    await _put(database, index, 2, GERMAN)  # Compounds are looked for in the index itself.
    await _same_as_if_new(database, index, "Antrag")
    assert await _found(database, index, "Antrag", Mode.KEYWORD)


async def test_cached_rows_are_not_shared_between_bases(database: Database) -> None:
    index = Index()
    await _put(database, index, 0, ENGLISH)
    for mode in Mode:
        assert await _found(database, index, "notice", mode)
        assert not await _found(database, index, "notice", mode, STRANGER)
        assert await _found(database, index, "notice", mode)


async def _same_as_if_new(database: Database, index: Index, first: str) -> None:
    for text in (first, *QUERIES):
        for mode in (Mode.KEYWORD, Mode.HYBRID):
            assert await _found(database, index, text, mode) == await _found(database, Index(), text, mode), text


async def _put(database: Database, index: Index, number: int, text: str) -> None:
    vector = np.eye(8, dtype=np.float32)[number : number + 1]
    chunk = NewChunk(text, sha256(text.encode()).digest())
    async with internal(database) as tx:
        await index.replace(tx, KEY, NewItem(UUID(int=100 + number), {}, [chunk], vector, embedder="letters"))


async def _found(database: Database, index: Index, text: str, mode: Mode, who: Principal = ME) -> Any:
    vector = None if mode is Mode.KEYWORD else np.eye(8, dtype=np.float32)[0]
    async with database.tenant(who) as tx:
        return (await index.search(tx, KEY, Query(text, limit=5, mode=mode), vector)).hits
