"""Long lists that are counted by hour and day: a page by number shows what passing over all items before it would, and
totals are exact, whatever is made late, moved and deleted meanwhile."""

import json
from collections.abc import AsyncIterator, Sequence
from uuid import UUID, uuid4

import asyncpg
import pytest

from stoa.db import Database
from stoa.db.counting import ListCounts

COUNT_MAX = 40
"""So that these lists are long ones."""
FILL = """
WITH made AS (
    INSERT INTO conversations (org_id, project_id, id, title, model_id, user_id, owner_id, message_count, created_at)
    SELECT $1, $2, gen_random_uuid(), 'Talk ' || n, $3, 'user' || n % 7, $5, 1,
        now() - interval '1 minute' - n * n * interval '20 seconds'
    FROM generate_series(1, $4::int) n
    RETURNING id, created_at, title
)
INSERT INTO messages (org_id, project_id, conversation_id, position, id, role, content, text, status, created_at)
SELECT $1, $2, id, 1, gen_random_uuid(), 'user', '[]',
    'We spoke of fruit' || CASE WHEN substr(title, 6)::int % 6 = 0 THEN ' of apples' ELSE '' END
        || CASE WHEN substr(title, 6)::int > 100 THEN ' of berries' ELSE '' END,
    'completed', created_at
FROM made
"""
"""So many conversations, ever farther apart: the oldest of 150 is five days old."""


class Place:
    """A database with two projects of one organization."""

    def __init__(self, connection: asyncpg.Connection, dsn: str) -> None:
        self.connection, self.dsn = connection, dsn
        self.org, self.model, self.projects = uuid4(), uuid4(), (uuid4(), uuid4())

    async def open(self) -> None:
        await self.connection.execute("INSERT INTO orgs (id, name) VALUES ($1, 'o')", self.org)
        await self.connection.executemany(
            "INSERT INTO projects (org_id, id, name) VALUES ($1, $2, 'p')", [(self.org, one) for one in self.projects]
        )
        await self.connection.execute(
            "INSERT INTO models (id, slug, name, provider, wire_name, abilities)"
            " VALUES ($1, 'a/b', 'b', 'stoa', 'b', '{}')",
            self.model,
        )

    async def fill(self, project: UUID, count: int, owner: UUID | None = None) -> None:
        await self.connection.execute(FILL, self.org, project, self.model, count, owner)
        await self.connection.execute("ANALYZE conversations, messages")

    async def count(self) -> None:
        database = await Database.open(self.dsn, connections_max=2)
        await ListCounts(database).catch_up()
        await database.close()

    async def small(self, function: str, *changes: tuple[str, str]) -> None:
        """Makes a function's bounds as small as these lists."""
        text = await self.connection.fetchval("SELECT pg_get_functiondef($1::regproc)", function)
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        await self.connection.execute(text)

    async def page(
        self, skipped: int, limit: int = 10, *, query: str | None = None, project: UUID | None = None,
        projects: Sequence[UUID] | None = None, user: UUID | None = None, name: str = "conversations",
        order: Sequence[tuple[str, bool]] = (("created_at", True),),
    ) -> asyncpg.Record:  # fmt: skip
        asked = {
            "list": name, "filters": {}, "order": order, "after": None, "offset": skipped,
            "limit": limit, "query": query, "count_max": COUNT_MAX,
        }  # fmt: skip
        settings = f"SET LOCAL stoa.org_id = '{self.org}'; SET LOCAL stoa.project_id = '{project or ''}'"
        if projects is not None:
            settings += f"; SET LOCAL stoa.project_ids = '{{{','.join(map(str, projects))}}}'"
        if user is not None:
            settings += f"; SET LOCAL stoa.user_id = '{user}'"
        async with self.connection.transaction():
            await self.connection.execute(f"SET LOCAL ROLE stoa_tenant; {settings}")
            return await self.connection.fetchrow("SELECT * FROM page_of_list($1)", json.dumps(asked))

    async def check(self, *, counted: bool = True) -> None:
        """Every page of every caller, and its total, against the rows."""
        one, other = self.projects
        for project, projects in ((None, None), (one, None), (other, None), (other, [one])):
            seen = {*(projects or ()), project} if project else {*self.projects}
            rows = await self.connection.fetch(
                "SELECT id FROM conversations WHERE org_id = $1 AND project_id = ANY ($2) AND owner_id IS NULL"
                " ORDER BY created_at DESC, id", self.org, list(seen),
            )  # fmt: skip
            true = [row["id"] for row in rows]
            for skipped in range(0, len(true) + 20, 7):
                found = await self.page(skipped, project=project, projects=projects)
                assert found["ids"] == true[skipped : skipped + 10], (project, projects, skipped)
                if counted and len(true) > COUNT_MAX:
                    assert (found["total"], found["estimated"]) == (len(true), False)


@pytest.fixture
async def place(dsn: str) -> AsyncIterator[Place]:
    connection = await asyncpg.connect(dsn)
    made = Place(connection, dsn)
    await made.open()
    await made.small("page_of_list", ("SKIP_MAX CONSTANT int := 1000", "SKIP_MAX CONSTANT int := 3"))
    yield made
    await connection.close()


async def test_pages_by_number_and_totals_are_exact_at_any_depth(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoa.db.counting.SMALL_DAY_ITEMS", 0)
    one, other = place.projects
    for project, count in ((one, 150), (other, 60)):
        await place.fill(project, count)
    await place.check(counted=False)
    await place.count()
    days, until = await place.connection.fetchrow(
        "SELECT (SELECT count(*) FROM list_counts WHERE width = 'day' AND project_id IS NULL), until FROM list_progress"
    )
    assert days >= 5
    assert (await place.connection.fetchval("SELECT now() - $1", until)).total_seconds() < 120
    await place.check()
    await place.connection.execute("DELETE FROM messages")
    await place.connection.execute("DELETE FROM conversations WHERE title LIKE '%3'")  # Days and hours get smaller.
    await place.fill(one, 20)  # Made late.
    await place.fill(one, 20, owner=uuid4())  # A user's own: in nobody else's lists.
    await place.connection.execute("UPDATE conversations SET project_id = $1 WHERE title LIKE '%4'", other)
    await place.connection.execute(
        "UPDATE conversations SET created_at = created_at - interval '1 day' WHERE title LIKE '%5'"
    )
    assert await place.connection.fetchval("SELECT count(*) FROM list_changes") > 0
    await place.check()
    await place.count()
    assert await place.connection.fetchval("SELECT count(*) FROM list_changes") == 0
    await place.check()
    sums = await place.connection.fetch(
        "SELECT width, sum(items) AS items FROM list_counts WHERE project_id IS NULL GROUP BY 1"
    )
    assert len({row["items"] for row in sums}) == 1


async def test_small_days_keep_no_hours(place: Place) -> None:
    await place.fill(place.projects[0], 150)
    await place.count()
    kept = "SELECT count(DISTINCT date_trunc('day', starts_at, 'UTC')) FROM list_counts WHERE width = 'hour'"
    assert await place.connection.fetchval(kept) <= 2  # The last day's, which goes on.
    await place.check()
    await place.connection.execute(
        "UPDATE conversations SET created_at = created_at - interval '1 day' WHERE title LIKE '%5'"
    )
    await place.count()  # Hours of a day that do not sum up to it.
    await place.check()


async def test_what_is_deleted_while_it_is_counted_is_not_counted(place: Place) -> None:
    await place.fill(place.projects[0], 60)
    other = await asyncpg.connect(place.dsn)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("DELETE FROM messages")
    await other.execute("DELETE FROM conversations WHERE title LIKE '%7'")
    await place.count()  # The deletion has the progress: nothing is counted past it.
    assert (await place.connection.fetchval("SELECT until FROM list_progress")).year == 1970
    await transaction.commit()
    await other.close()
    await place.count()
    await place.check()


async def test_words_of_many_messages_are_found_among_the_newest_first(place: Place) -> None:
    """Each way to the words shows the newest conversations that hold them, in order."""
    one, other = place.projects
    await place.fill(one, 150)
    await place.fill(other, 60)
    ways = {
        "apples": (2000, 60),  # Among the newest.
        "fruit": (60, 60),  # Read.
        "berries": (60, 5),  # In old ones alone: back through the days.
    }
    await place.small("newest_with_words", ("HITS_MAX CONSTANT int := 5000", "HITS_MAX CONSTANT int := 45"))
    for word, (before, after) in ways.items():
        was, becomes = (f"NEWEST   CONSTANT int := {size}" for size in (before, after))
        await place.small("newest_with_words", (was, becomes))
        for project in (None, one):
            rows = await place.connection.fetch(
                "SELECT c.id FROM conversations c JOIN messages m ON m.conversation_id = c.id WHERE c.org_id = $1"
                " AND ($2::uuid IS NULL OR c.project_id = $2) AND m.text LIKE '%' || $3 || '%'"
                " ORDER BY c.created_at DESC, c.id",
                place.org, project, word,
            )  # fmt: skip
            true = [row["id"] for row in rows]
            for skipped in range(0, len(true) - 5, 5):
                found = await place.page(skipped, 5, query=f"{word}:*", project=project)
                assert found["ids"] == true[skipped : skipped + 5], (word, project, skipped)


async def test_a_new_fork_of_an_old_conversation_is_found_among_the_newest(place: Place) -> None:
    project = place.projects[0]
    await place.fill(project, 120)
    old = await place.connection.fetchval("SELECT id FROM conversations WHERE title = 'Talk 120'")
    fork = uuid4()
    await place.connection.execute(
        "INSERT INTO conversations (org_id, project_id, id, title, model_id, message_count, forked_from)"
        " VALUES ($1, $2, $3, 'Fork', $4, 1, $5)", place.org, project, fork, place.model, old,
    )  # fmt: skip
    await place.connection.execute(
        "INSERT INTO conversation_segments"
        " (org_id, project_id, conversation_id, first_position, last_position, source_id)"
        " VALUES ($1, $2, $3, 1, 1, $4)", place.org, project, fork, old,
    )  # fmt: skip
    await place.connection.execute("ANALYZE conversations")
    await place.small("newest_with_words", ("NEWEST   CONSTANT int := 2000", "NEWEST   CONSTANT int := 60"))
    found = await place.page(0, 5, query="apples:*")
    assert found["estimated"] is True
    assert found["ids"][0] == fork


RUNS = """
INSERT INTO runs (org_id, project_id, id, conversation_id, message_id, message_position, model_id, status, options,
    input, attempt, created_at, started_at, ended_at)
SELECT c.org_id, c.project_id, gen_random_uuid(), c.id, gen_random_uuid(), 1, c.model_id,
    (ARRAY['completed', 'completed', 'failed', 'canceled', 'created'])[1 + n % 5], '{}', '{}', 1, c.created_at,
    CASE WHEN n % 5 < 3 THEN c.created_at + n % 7 * interval '3 hours' END,
    CASE WHEN n % 5 < 4 THEN c.created_at + n % 7 * interval '4 hours' END
FROM (SELECT *, row_number() OVER (ORDER BY id) AS n FROM conversations) c
"""


async def test_every_order_of_a_long_list_is_what_reading_all_of_it_gives(place: Place) -> None:
    one, other = place.projects
    await place.fill(one, 150)
    await place.fill(other, 60)
    await place.connection.execute(
        "UPDATE conversations SET updated_at = created_at + ascii(id::text) * interval '7 minutes',"
        " title = CASE WHEN title LIKE '%3' THEN NULL WHEN title LIKE '%4' THEN 'Same' ELSE title END"
    )
    await place.connection.execute("UPDATE conversations SET updated_at = now() WHERE title LIKE '%5'")
    # A replica's session fires no triggers: these runs begin as they ended.
    await place.connection.execute("SET session_replication_role = replica")
    await place.connection.execute(RUNS)
    await place.connection.execute("SET session_replication_role = origin")
    await place.connection.execute("ANALYZE conversations, runs")
    await place.small("page_of_list", ("SKIP_MAX CONSTANT int := 3", "SKIP_MAX CONSTANT int := 60"))
    orders = [("conversations", column) for column in ("updated_at", "title", "message_count")]
    orders += [("runs", column) for column in ("started_at", "ended_at", "status")]
    for name, column in orders:
        for descending in (False, True):
            way = "DESC NULLS LAST" if descending else "ASC"
            ties = "DESC" if descending and column == "title" else "ASC"
            for project in (None, other):
                rows = await place.connection.fetch(
                    f"SELECT id FROM {name} WHERE org_id = $1 AND ($2::uuid IS NULL OR project_id = $2)"
                    f" ORDER BY {column} {way}, id {ties}", place.org, project,
                )  # fmt: skip
                true = [row["id"] for row in rows]
                for skipped in range(0, len(true), 20):
                    found = await place.page(skipped, project=project, name=name, order=[(column, descending)])
                    assert found["ids"] == true[skipped : skipped + 10], (name, column, descending, project, skipped)
    both = await place.page(0, name="runs", order=[("started_at", True), ("status", False)])
    rows = await place.connection.fetch(
        "SELECT id FROM runs WHERE org_id = $1 ORDER BY started_at DESC NULLS LAST, status, id LIMIT 10", place.org
    )
    assert both["ids"] == [row["id"] for row in rows]
