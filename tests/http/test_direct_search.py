"""A plain search goes past the framework, and nobody can tell but by the clock."""

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import Running
from tests.support.knowledge import SICK, TRAVEL, base_of, settled, upload

FRAMEWORK = {"Content-Type": "application/json; charset=utf-8"}
"""Whatever is not plainly `application/json` is left to the framework."""
WORDS: Any = {"query": "hotel", "mode": "keyword"}
CASES: Any = [
    (WORDS, {}, 200),
    ({**WORDS, "explain": True}, {}, 200),
    ({**WORDS, "mode": "hybrid", "limit": 3}, {}, 200),
    ({**WORDS, "user": "anna"}, {}, 200),
    ({**WORDS, "groups": []}, {}, 200),
    ({**WORDS, "filters": {"source": "sick.md"}}, {}, 200),
    ({**WORDS, "filters": {"field": "a", "operator": "NEAR", "value": 1}}, {}, 400),
    ({**WORDS, "user_id": "anna"}, {}, 400),
    ({"query": " "}, {}, 400),
    ([1], {}, 400),
    (WORDS, {"Authorization": "Bearer nonsense"}, 401),
    (WORDS, {"Authorization": ""}, 401),
    (WORDS, {"Origin": "http://elsewhere.example"}, 200),
]


async def test_both_ways_answer_alike(shared_server: Running) -> None:
    base = await base_of(shared_server)
    await upload(
        shared_server,
        base["id"],
        ("travel.md", TRAVEL),
        ("sick.md", SICK),
        input=json.dumps({"metadata": [{"acl": {"users": ["anna"]}}, {"pages": None}]}),
    )
    await settled(shared_server, base["id"])
    path = f"/kb/{base['id']}/v1/documents/search"
    assert (await shared_server.client.post(path, json=WORDS)).is_success  # From now on the base has been seen.
    for host, url in (({}, path), ({"Host": base["hostname"]}, "/v1/documents/search")):
        for body, headers, status in CASES:
            answers: list[Any] = []
            for way in ({}, FRAMEWORK):
                answered = await shared_server.client.post(url, json=body, headers={**way, **host, **headers})
                assert answered.status_code == status, (body, answered.text)
                names = sorted(name for name in answered.headers if name != "date")
                answers.append((_without_times(answered.text), names, answered.headers["content-type"]))
            assert answers[0] == answers[1], body
    await shared_server.call("DELETE", f"/v1/knowledgebases/{base['id']}")
    gone = [(await shared_server.client.post(path, json=WORDS, headers=way)) for way in ({}, FRAMEWORK)]
    assert [one.status_code for one in gone] == [403, 403]
    assert gone[0].json() == gone[1].json()


@pytest.mark.parametrize("way", [{}, FRAMEWORK])
async def test_a_base_that_nobody_has_searched_is_asked_for_first(shared_server: Running, way: dict[str, str]) -> None:
    for name, status in ((str(uuid4()), 403), ("none", 404)):
        answered = await shared_server.client.post(f"/kb/{name}/v1/documents/search", json=[1], headers=way)
        assert answered.status_code == status


async def test_both_ways_are_counted_as_one_route(shared_server: Running) -> None:
    base = await base_of(shared_server)

    async def counted() -> float:
        page = (await shared_server.client.get("/metrics")).text
        line = 'stoa_http_requests_total{host="kb",method="POST",route="/v1/documents/search",status="200"} '
        return float(next((row.removeprefix(line) for row in page.splitlines() if row.startswith(line)), 0))

    before = await counted()
    for way in ({}, {}, FRAMEWORK):
        path = f"/kb/{base['id']}/v1/documents/search"
        assert (await shared_server.client.post(path, json=WORDS, headers=way)).is_success
    assert await counted() == before + 3


def _without_times(text: str) -> Any:
    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: timeless(one) for name, one in value.items() if not name.endswith("ms")}
        return [timeless(one) for one in value] if isinstance(value, list) else value

    return timeless(json.loads(text))
