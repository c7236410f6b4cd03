"""What every answer has, also one that nobody meant to give."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from stoa.kernel.ids import RandomIds
from tests.conftest import FIRST_KEY, Running, serving
from tests.support.doubles import ScriptedModel
from tests.support.running import NO_AUTHORITIES


@pytest.mark.parametrize(
    "path", ["/health", "/v1/runs", "/v9/none", "/docs", "/openapi.json", "/metrics", "/kb/x/v1/items"]
)
async def test_constant_headers(shared_server: Running, path: str) -> None:
    answer = await shared_server.client.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    # Pages of the console need the Origin of their own forms, which no-referrer would hide.
    assert answer.headers["referrer-policy"] == ("same-origin" if path == "/docs" else "no-referrer")
    assert answer.headers["x-request-id"]
    assert ("content-security-policy" in answer.headers) == answer.headers["content-type"].startswith("text/html")
    for name in ("x-content-type-options", "referrer-policy", "x-request-id"):
        assert len(answer.headers.get_list(name)) == 1


class BrokenIds:
    def __init__(self, real: Any) -> None:
        self._real = real
        self.broken = False

    def new(self) -> Any:
        if self.broken:
            raise KeyError("a bug")
        return self._real.new()


async def test_a_bug_answers_in_the_envelope_on_every_path(dsn: str, tmp_path: Path) -> None:
    """In a route, on a base's host and in the way past the framework; with an id by which it is found in the log."""
    ids = BrokenIds(RandomIds())
    async with serving(dsn, tmp_path, ScriptedModel(), ids=ids) as server:
        base = (await server.call("POST", "/v1/knowledgebases", 201, json={"name": "b"}))["data"]["id"]
        conversation = await server.conversation()
        model = await server.model_id()
        requests: list[tuple[str, str, dict[str, Any]]] = [
            ("POST", "/v1/conversations", {"json": {"model_id": model}}),
            ("POST", f"/kb/{base}/", {"files": {"files": ("a.txt", b"text")}}),
            ("POST", f"/v3/conversations/{conversation}/messages", {"json": {"content": "Hi"}}),
            (
                "POST",
                f"/v3/conversations/{conversation}/messages",
                {"json": {"content": "Hi"}, "headers": {"Content-Type": "application/json; charset=utf-8"}},
            ),
        ]
        ids.broken = True
        async with httpx.AsyncClient(verify=NO_AUTHORITIES, base_url=server.url) as client:
            for method, path, options in requests:
                headers = {
                    "Authorization": f"Bearer {FIRST_KEY}",
                    "X-Request-Id": "mine-1",
                    **options.pop("headers", {}),
                }
                answer = await client.request(method, path, headers=headers, **options)
                assert answer.status_code == 500, answer.text
                assert answer.headers["content-type"] == "application/json"
                assert answer.headers["x-request-id"] == "mine-1"
                assert answer.json()["error"]["code"] == "internal_error"
                assert "a bug" not in answer.text
        ids.broken = False


async def test_every_429_says_when_to_come_back(running: Running) -> None:
    made = (await running.call("POST", "/v1/access-keys", 201, json={"name": "limited", "rate_limit": 1}))["data"]
    headers = {"Authorization": f"Bearer {made['key']}"}
    for _ in range(2):
        answer = await running.client.get("/v1/runs", headers=headers)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
