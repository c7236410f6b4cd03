"""Long lists: pages and cursors show every item once, counts say when they are estimates, searches find what is there
and nothing of others."""

import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.conftest import Running

WORDS = ("apple", "berry", "cherry")


@pytest.fixture
async def database(running: Running) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(running.dsn)
    yield connection
    await connection.close()


async def fill(running: Running, database: asyncpg.Connection, count: int, *, project_id: UUID | None = None) -> UUID:
    """So many conversations, each a second older than the one before, every other two at one moment, each with a
    message; gives the organization."""
    org_id = await database.fetchval("SELECT id FROM orgs ORDER BY created_at LIMIT 1")
    project_id = project_id or await database.fetchval("SELECT id FROM projects ORDER BY created_at LIMIT 1")
    model_id = UUID(await running.model_id())
    await database.execute(
        """WITH made AS (
            INSERT INTO conversations (org_id, project_id, id, title, model_id, user_id, message_count, created_at)
            SELECT $1, $2, gen_random_uuid(), 'Talk ' || n, $3, 'user' || n % 7, 1, now() - n / 2 * interval '2 seconds'
            FROM generate_series(1, $4::int) n
            RETURNING id, created_at, title)
           INSERT INTO messages (org_id, project_id, conversation_id, position, id, role, content, text, status,
               created_at)
           SELECT $1, $2, id, 1, gen_random_uuid(), 'user', '[]', 'We spoke of apple number ' || substr(title, 6),
               'completed', created_at
           FROM made""",
        org_id,
        project_id,
        model_id,
        count,
    )
    await database.execute("ANALYZE conversations, messages")
    return org_id


async def page(running: Running, query: str, **options: Any) -> tuple[list[str], dict[str, Any]]:
    found = await running.call("GET", query, **options)
    return [item["id"] for item in found["data"]], found["pagination"]


async def walk(running: Running, query: str) -> list[str]:
    """Every page, by its cursors."""
    ids, pagination = await page(running, query)
    while "next_cursor" in pagination:
        more, pagination = await page(running, f"{query}&cursor={pagination['next_cursor']}")
        ids += more
    return ids


@pytest.mark.parametrize("sort", ["", "&sort=created_at", "&sort=-updated_at", "&sort=message_count"])
async def test_cursors_show_every_item_once_in_the_order_of_pages(
    running: Running, database: asyncpg.Connection, sort: str
) -> None:
    await fill(running, database, 57)
    by_page = [
        item
        for number in range(1, 8)
        for item in (await page(running, f"/v1/conversations?page={number}&page_size=10{sort}"))[0]
    ]
    by_cursor = await walk(running, f"/v1/conversations?page_size=10{sort}")
    assert by_cursor == by_page
    assert len(set(by_cursor)) == 57


async def test_a_cursor_stays_where_it_was_while_the_list_grows(running: Running, database: asyncpg.Connection) -> None:
    await fill(running, database, 20)
    first, pagination = await page(running, "/v1/conversations?page_size=10")
    new = await running.conversation()
    rest, _ = await page(running, f"/v1/conversations?page_size=100&cursor={pagination['next_cursor']}")
    assert new not in rest
    assert len({*first, *rest}) == 20


async def test_a_title_has_no_cursor_and_others_are_refused(running: Running, database: asyncpg.Connection) -> None:
    await fill(running, database, 12)
    _, pagination = await page(running, "/v1/conversations?page_size=5&sort=title")
    assert "next_cursor" not in pagination
    _, pagination = await page(running, "/v1/conversations?page_size=5")
    cursor = pagination["next_cursor"]
    for query, named in (
        (f"cursor={cursor}&sort=-updated_at", "cursor"),
        (f"cursor={cursor}&sort=created_at", "cursor"),
        (f"cursor={cursor}&page=2", "page"),
        ("cursor=bm9uZQ", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=WyJjcmVhdGVkX2F0Iix0cnVlLDEsIngiXQ", "cursor"),
        (f"cursor={'x' * 501}", "cursor"),
    ):
        refused = await running.call("GET", f"/v1/conversations?{query}", 400)
        assert list(refused["error"]["details"]) == [named], query


async def test_counts_are_exact_until_they_say_that_they_are_not(
    running: Running, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(running, database, 60)
    # Of a model: a list without filters is counted by day (tests/slice/db/test_counting.py).
    path = f"/v1/conversations?model_id={await running.model_id()}"
    monkeypatch.setattr("stoa.db.lists.COUNT_MAX", 60)
    _, pagination = await page(running, path)
    assert (pagination["total_count"], pagination.get("total_count_estimated")) == (60, None)
    monkeypatch.setattr("stoa.db.lists.COUNT_MAX", 40)
    _, pagination = await page(running, path)
    assert pagination["total_count_estimated"] is True
    assert 41 <= pagination["total_count"] <= 80
    monkeypatch.setattr("stoa.db.lists.COUNT_MAX", 5)
    _, pagination = await page(running, path)
    assert pagination["total_count_estimated"] is True
    _, pagination = await page(running, "/v1/conversations?user_id=nobody")
    assert (pagination["total_count"], pagination.get("total_count_estimated")) == (0, None)


async def test_a_search_finds_rare_and_frequent_words_and_forks(
    running: Running, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(running, database, 40)
    ids, pagination = await page(running, "/v1/conversations?q=apple&page_size=100")
    assert (len(ids), pagination["total_count"]) == (40, 40)
    assert len((await page(running, "/v1/conversations?q=apple+num&page_size=100"))[0]) == 40
    assert len((await page(running, "/v1/conversations?q=talk+17"))[0]) == 1
    assert len((await page(running, "/v1/conversations?q=apple&user_id=user3"))[0]) == len(range(3, 41, 7))
    assert (await page(running, "/v1/conversations?q=appl+number"))[0] == []
    origin = ids[0]
    fork = (await running.call("POST", f"/v1/conversations/{origin}/fork", 201, json={"title": "Other"}))["data"]["id"]
    found, _ = await page(running, "/v1/conversations?q=apple&page_size=100&sort=title")
    assert fork in found
    assert len(found) == 41
    # A word in most messages, in a list too long to be counted: read from the newest on.
    monkeypatch.setattr("stoa.db.lists.COUNT_MAX", 10)
    frequent, pagination = await page(running, "/v1/conversations?q=apple&page_size=10&page=2")
    assert frequent == list((await page(running, "/v1/conversations?page_size=10&page=2"))[0])
    assert pagination["total_count_estimated"] is True
    assert (
        await walk(running, "/v1/conversations?q=apple&page_size=10")
        == (await page(running, "/v1/conversations?page_size=100"))[0]
    )
    assert (await page(running, "/v1/conversations?q=app&page_size=10"))[0] == (
        await page(running, "/v1/conversations?page_size=10")
    )[0]
    assert (await page(running, "/v1/conversations?q=num+zzz"))[0] == []


async def test_a_search_and_a_count_know_nothing_of_other_projects_and_organizations(
    running: Running, database: asyncpg.Connection
) -> None:
    org_id = await fill(running, database, 9)
    other = UUID((await running.call("POST", "/v1/projects", 201, json={"name": "Other"}))["data"]["id"])
    await fill(running, database, 5, project_id=other)
    made = await running.call("POST", "/v1/access-keys", 201, json={"name": "k", "project_id": str(other)})
    theirs = {"headers": {"Authorization": f"Bearer {made['data']['key']}"}}
    for query in ("/v1/conversations?page_size=100", "/v1/conversations?page_size=100&q=apple"):
        ids, pagination = await page(running, query, **theirs)
        assert (len(ids), pagination["total_count"]) == (5, 5)
        assert len((await page(running, query))[0]) == 14
    stranger = uuid4()
    await database.execute("INSERT INTO orgs VALUES ($1, 'stranger')", stranger)
    asked = (
        '{"list": "conversations", "filters": {}, "order": [["created_at", true]], '
        '"offset": 0, "limit": 9, "query": "apple", "count_max": 9}'
    )
    for organization, project, expected in ((stranger, "", 0), (org_id, str(other), 5), (org_id, str(uuid4()), 0)):
        async with database.transaction():
            await database.execute(
                f"SET LOCAL ROLE stoa_tenant; SET LOCAL stoa.org_id = '{organization}'; "
                f"SET LOCAL stoa.project_id = '{project}'"
            )
            row = await database.fetchrow("SELECT * FROM page_of_list($1)", asked)
            assert (len(row["ids"]), row["total"]) == (expected, expected)
    for text in (
        "SELECT matching_conversations('apple', 9)",
        "SELECT newest_matching_conversations('apple', 'true', 1, 1, 1)",
    ):
        async with database.transaction():
            await database.execute("SET LOCAL ROLE stoa_tenant")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with database.transaction():
                    await database.execute(text)


async def test_runs_have_pages_cursors_and_counts_too(running: Running) -> None:
    talk, other = await running.conversation(user_id="ada"), await running.conversation()
    made = [(await running.ask(talk))["id"] for _ in range(5)] + [(await running.ask(other))["id"]]
    assert await walk(running, "/v1/runs?page_size=2") == made[::-1]
    ids, pagination = await page(running, f"/v1/runs?conversation_id={talk}&page_size=2&page=3")
    assert (ids, pagination["total_count"], pagination["page_count"]) == ([made[0]], 5, 3)
    assert len((await page(running, "/v1/runs?user_id=ada&status=completed&status=failed"))[0]) == 5
    assert (await page(running, "/v1/runs?status=failed"))[0] == []
    assert (await page(running, "/v1/runs?sort=status,-ended_at"))[0] == made[::-1]


async def test_values_that_cannot_be_stored_are_refused_not_500(running: Running) -> None:
    for path, name in (
        ("/v1/conversations", "user_id"),
        ("/v1/conversations", "q"),
        ("/v1/runs", "user_id"),
        ("/v1/usage", "user_id"),
        ("/v1/usage", "model"),
        ("/v1/audit", "action"),
        ("/v1/traces", "name"),
        (f"/v1/apps/{uuid4()}/sessions", "user_id"),
    ):
        refused = await running.call("GET", f"{path}?{name}=a%00", 400)
        assert "NUL" in refused["error"]["details"][name], path


IN_OTHER_WORDS = {"/v1/ui-messages/{agent}/{chat}/stream": 204, "/v1/a2a/{agent}": 200}
"""Nothing to go on with, as `useChat` is told; an error of JSON-RPC, which comes with 200."""


async def test_a_nul_in_a_path_is_refused_not_500(running: Running) -> None:
    """Every route whose path names something, of whatever type."""
    asked = 0
    for prefix in ("", "/router", "/collector"):
        document = await running.call("GET", f"{prefix}/openapi.json")
        for path, methods in document["paths"].items():
            if "{" not in path:
                continue
            asked += 1
            for method in methods:
                answer = await running.client.request(method, prefix + re.sub(r"{[^}]*}", "a%00", path), json={})
                wanted = (IN_OTHER_WORDS[path],) if path in IN_OTHER_WORDS else range(400, 500)
                assert answer.status_code in wanted, (method, path, answer.text)
    assert asked > 60


async def test_list_filters_equal_the_row_level_security_policies(database: asyncpg.Connection) -> None:
    """`page_of_list` and `matching_conversations` run as the owner. Who changes one of these policies changes them
    too."""
    rows = await database.fetch(
        "SELECT tablename, regexp_replace(qual, '\\s+', ' ', 'g') AS qual, roles::text, cmd FROM pg_policies"
        " WHERE tablename IN ('conversations', 'messages', 'runs', 'conversation_segments')"
    )
    expected = (
        "((org_id = stoa_org()) AND ((stoa_project() IS NULL) OR ((project_id = stoa_project())"
        " OR (project_id = ANY (stoa_projects())))){owned})"
    )
    owned = {"conversations": " AND stoa_owns(owner_id)", "runs": " AND stoa_owns(owner_id)"}
    assert {row["tablename"] for row in rows} == {"conversations", "messages", "runs", "conversation_segments"}
    for row in rows:
        assert (row["qual"], row["roles"], row["cmd"]) == (
            expected.format(owned=owned.get(row["tablename"], "")),
            "{stoa_tenant}",
            "ALL",
        )


async def test_lists_and_policies_agree_for_every_kind_of_principal(
    running: Running, database: asyncpg.Connection
) -> None:
    """Keys of the organization and of a project, users of several projects and of none: counted both ways."""
    org_id = await fill(running, database, 9)
    others = [
        UUID((await running.call("POST", "/v1/projects", 201, json={"name": f"Other {n}"}))["data"]["id"])
        for n in range(2)
    ]
    for other in others:
        await fill(running, database, 4, project_id=other)
    first = await database.fetchval("SELECT id FROM projects ORDER BY created_at LIMIT 1")
    ada = uuid4()
    await database.execute("UPDATE conversations SET owner_id = $1 WHERE user_id IN ('user1', 'user2')", ada)
    nowhere = UUID(int=0)
    counts: set[int] = set()
    for project, projects, user in (
        ("", None, None),
        (first, None, None),
        ("", None, ada),
        (nowhere, [first, others[0]], ada),
        (nowhere, others, None),
        (nowhere, [], ada),
        (others[1], [first], ada),
    ):
        async with database.transaction():
            settings = f"SET LOCAL stoa.org_id = '{org_id}'; SET LOCAL stoa.project_id = '{project}'"
            if projects is not None:
                settings += f"; SET LOCAL stoa.project_ids = '{{{','.join(map(str, projects))}}}'"
            if user is not None:
                settings += f"; SET LOCAL stoa.user_id = '{user}'"
            await database.execute(f"SET LOCAL ROLE stoa_tenant; {settings}")
            shown = {row["id"] for row in await database.fetch("SELECT id FROM conversations")}
            for query in ("null", '"apple"'):
                asked = (
                    f'{{"list": "conversations", "filters": {{}}, '
                    f'"order": [["created_at", true]], "offset": 0, "limit": 99, "query": {query}, "count_max": 99}}'
                )
                row = await database.fetchrow("SELECT * FROM page_of_list($1)", asked)
                assert set(row["ids"]) == shown, (project, projects, user, query)
                assert row["total"] == len(shown)
            counts.add(len(shown))
    assert len(counts) >= 5, "the cases differ"


async def test_pinned_conversations_are_a_list_of_their_own(shared_server: Running) -> None:
    """The last pinned first; a pin is no activity, comes once, goes to no fork, and is of those who see the
    conversation."""
    first, second, third = [await shared_server.conversation(title=f"Pin {number}") for number in range(3)]
    before = (await shared_server.call("GET", f"/v1/conversations/{first}"))["data"]
    assert "pinned_at" not in before
    for one in (first, second):
        pinned = (await shared_server.call("PATCH", f"/v1/conversations/{one}", json={"pinned": True}))["data"]
        assert pinned["pinned_at"] > before["created_at"]
    again = (await shared_server.call("PATCH", f"/v1/conversations/{first}", json={"pinned": True}))["data"]
    assert again == before | {"pinned_at": again["pinned_at"]}, "a pin changes nothing else, and repeating it nothing"
    ids, pagination = await page(shared_server, "/v1/conversations?pinned=true")
    assert (ids, pagination["total_count"]) == ([second, first], 2)
    assert (await page(shared_server, "/v1/conversations?pinned=true&sort=title&page_size=1&page=2"))[0] == [second]
    assert (await page(shared_server, "/v1/conversations?pinned=true&user_id=nobody"))[0] == []
    assert third in (await page(shared_server, "/v1/conversations?pinned=false"))[0]
    renamed = {"title": "Renamed", "pinned": False}
    changed = (await shared_server.call("PATCH", f"/v1/conversations/{second}", json=renamed))["data"]
    assert ("pinned_at" in changed, changed["title"]) == (False, "Renamed")
    assert changed["updated_at"] > before["updated_at"]
    fork = (await shared_server.call("POST", f"/v1/conversations/{first}/fork", 201, json={}))["data"]
    assert "pinned_at" not in fork
    assert (await page(shared_server, "/v1/conversations?pinned=true"))[0] == [first]
    for query in ("pinned=true&q=Pin", "pinned=true&cursor=x"):
        refused = await shared_server.call("GET", f"/v1/conversations?{query}", 400)
        assert list(refused["error"]["details"]) == ["pinned"]
    await shared_server.call("PATCH", f"/v1/conversations/{first}", 400, json={"pinned": None})
    project = (await shared_server.call("POST", "/v1/projects", 201, json={"name": "Pins"}))["data"]["id"]
    key = {"name": "elsewhere", "project_id": project}
    elsewhere = (await shared_server.call("POST", "/v1/access-keys", 201, json=key))["data"]["key"]
    bearer = {"Authorization": f"Bearer {elsewhere}"}
    assert (await page(shared_server, "/v1/conversations?pinned=true", headers=bearer))[0] == []
