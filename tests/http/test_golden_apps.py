"""Each documented example of an app's host, and of what belongs to it on the api host, as a request and its answer.

The answers stand in `golden/apps.json`, which `WRITE_DOCS=1 python -m pytest tests/http/test_golden_apps.py` writes. A
change of theirs is a change of the contract. Ids, times, tokens and figures that differ each time are replaced by their
kind.
"""

import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from stoa.gateway import Capabilities
from tests.conftest import FIRST_KEY, Running, serving
from tests.support.apps import deployed
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, answer

GOLDEN = Path(__file__).parent / "golden" / "apps.json"
HI = {"input": {"input": "Summarize the ticket."}}
SESSION = "01890a5d-ac96-774b-bcce-b302099a8057"
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_VARIES = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"), "<time>"),
    (re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+"), "<token>"),
    (re.compile(r"ticket=[\w-]+"), "ticket=<ticket>"),
    (re.compile(r'"sha256":"[0-9a-f]{64}"'), '"sha256":"<sha256>"'),
    (re.compile(r"whsec_[\w+/=]+"), "<secret>"),
    (re.compile(r"http://127\.0\.0\.1:\d+"), "<server>"),
    (re.compile(r'"duration_ms_(avg|p95)":[\d.]+'), r'"duration_ms_\1":"<milliseconds>"'),
)


@pytest.fixture
async def server(cluster: Databases, room: Path) -> AsyncIterator[Running]:
    name = f"golden_apps_{uuid4().hex}"
    model = ScriptedModel([answer("Two rooms are wet.")], Capabilities(images=False, tools=True))
    async with serving(await cluster.copy(name), room / name, model) as made:
        yield made


class Exchanges:
    """Asks, and remembers what was said, with each id as a number of its own."""

    def __init__(self, server: Running, app_id: str) -> None:
        self._server = server
        self._app_id = app_id
        self._ids = {app_id: "<app>", SESSION: "<session>"}
        self.said: list[dict[str, Any]] = []

    async def ask(
        self, name: str, request: str, *, app_host: bool = True, token: str = FIRST_KEY, **options: Any
    ) -> Any:
        method, _, path = request.partition(" ")
        headers = {"Authorization": f"Bearer {token}"}
        if app_host:
            headers["Host"] = f"{self._app_id}.apps.localhost"
        got = await self._server.client.request(method, path, headers=headers, **options)
        sent = {key: value if key != "files" else [field for field, _ in value] for key, value in options.items()}
        streamed = got.headers["content-type"].startswith("text/event-stream")
        body = self._plain(got.text)
        self.said.append(
            {
                "example": name,
                "host": "app" if app_host else "api",
                "request": self._plain(request),
                **({"sent": json.loads(self._plain(json.dumps(sent)))} if sent else {}),
                "status": got.status_code,
                "answer": body.splitlines() if streamed else json.loads(body),
            }
        )
        return got.text if streamed else got.json()

    def _plain(self, text: str) -> str:
        for pattern, kind in _VARIES:
            text = pattern.sub(kind, text)
        return _UUID.sub(lambda found: self._ids.setdefault(found[0], f"<id {len(self._ids) - 1}>"), text)


async def test_every_documented_example(server: Running) -> None:
    app = await deployed(server)
    talk = Exchanges(server, app["id"])
    await _root(talk)
    await _runs(talk)
    await _requirements(talk, app)
    await _owner(talk, app)
    written = json.dumps(talk.said, indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("WRITE_DOCS"):
        GOLDEN.write_text(written)
    assert json.loads(GOLDEN.read_text("utf-8")) == talk.said


async def _root(talk: Exchanges) -> None:
    form = {"input": '{"input": "Summarize the ticket."}', "stream": "false", "user_id": "u-1"}
    await talk.ask("the root waits", "POST /", json=HI)
    await talk.ask("the root takes a form", "POST /", data=form, files=[("files", ("b.txt", b"The sea is red."))])
    await talk.ask("the root streams", "POST /", json={**HI, "stream": True})
    await talk.ask("the root accepts", "POST /", json={**HI, "execution_mode": "async"})
    calling = {**HI, "execution_mode": "async", "callbacks": [{"url": "https://localhost/hook", "metadata": {"n": 1}}]}
    accepted = await talk.ask("the root will call back", "POST /", json=calling)
    await talk.ask("callbacks without async", "POST /", json={**HI, "callbacks": calling["callbacks"]})
    six = {**calling, "callbacks": calling["callbacks"] * 6}
    await talk.ask("more than five callbacks", "POST /", json=six)
    await talk.ask("another media type", "POST /", data={"input": "{}"})
    await talk.ask("the callbacks of no run", f"GET /v1/runs/{SESSION}/callbacks")
    assert accepted["status"] == "accepted"


async def _runs(talk: Exchanges) -> None:
    file = await talk.ask("a file", "POST /v1/files", files=[("file", ("a.txt", b"The sky is green."))])
    await talk.ask("a file that is missing", "POST /v1/files", files=[("other", ("a.txt", b"x"))])
    whose = {"user_id": "u-1", "session_id": SESSION, "file_ids": [file["data"]["id"]]}
    run = await talk.ask("a run is waited for", "POST /v1/runs", json={**HI, **whose})
    await talk.ask("a run is streamed", "POST /v1/runs", json={**HI, "stream": True})
    await talk.ask("both", "POST /v1/runs", json={**HI, "stream": True, "background": True})
    await talk.ask("no input", "POST /v1/runs", json={})
    path = f"/v1/runs/{run['data']['id']}"
    await talk.ask("runs by user and session", f"GET /v1/runs?user_id=u-1&session_id={SESSION}")
    await talk.ask("runs that await input", "GET /v1/runs?status=awaiting_input")
    await talk.ask("a run", f"GET {path}")
    await talk.ask("its events", f"GET {path}/events")
    await talk.ask("its stream from the start", f"GET {path}/stream")
    await talk.ask("its stream after an event", f"GET {path}/stream?after_sequence=2")
    await talk.ask("after none", f"GET {path}/stream?after_sequence=0")
    await talk.ask("cancel, once it has ended", f"POST {path}/cancel")
    given = {"type": "human_feedback", "data": {"request_id": SESSION, "feedback": "Yes."}}
    await talk.ask("input that nobody asked for", f"POST {path}/input", json=given)
    await talk.ask("no such run", f"GET /v1/runs/{SESSION}")
    await talk.ask("no such key", "GET /v1/runs", token="stoa_acc_" + "x" * 64)


async def _requirements(talk: Exchanges, app: dict[str, Any]) -> None:
    need = {
        "name": "crm",
        "type": "connection",
        "form": {"title": "Your CRM", "description": "We read your customers."},
        "spec": {"type": "dynamiq.connections.Http", "fields": ["token"]},
    }
    at = f"/v1/workflows/{app['workflow_id']}/requirements"
    made = (await talk.ask("a requirement", f"POST {at}", app_host=False, json=need))["data"]["id"]
    await talk.ask("what the app requires", "GET /v1/requirements")
    await talk.ask("what a user lacks", "GET /v1/requirements/status?user_id=u-1")
    await talk.ask("a run for that user", "POST /v1/runs", json={**HI, "user_id": "u-1"})
    token = (await talk.ask("a connect token", "POST /v1/connect/tokens", json={"user_id": "u-1"}))["token"]
    at = "/v1/connect/requirements"
    await talk.ask("what the user sees", f"GET {at}", app_host=False, token=token)
    config = {"type": "dynamiq.connections.Http", "config": {"token": "example"}}
    await talk.ask("credentials", f"POST {at}/{made}/credentials", app_host=False, token=token, json=config)
    await talk.ask(
        "of another type", f"POST {at}/{made}/credentials", app_host=False, token=token, json={**config, "type": "x"}
    )
    await talk.ask("no OAuth2", f"POST {at}/{made}/oauth2/authorize", app_host=False, token=token)
    await talk.ask("no Pipedream", f"POST {at}/{made}/pipedream/authorize", app_host=False, token=token)
    await talk.ask("what is connected", f"GET {at}/status", app_host=False, token=token)
    await talk.ask("what a user lacks now", "GET /v1/requirements/status?user_id=u-1")
    await talk.ask("forgotten", f"DELETE /v1/requirements/{made}/connections?user_id=u-1")
    await talk.ask(
        "the requirement goes", f"DELETE /v1/workflows/{app['workflow_id']}/requirements/{made}", app_host=False
    )


async def _owner(talk: Exchanges, app: dict[str, Any]) -> None:
    path = f"/v1/apps/{app['id']}"
    invoked = await talk.ask("invoke", f"POST {path}/invoke", app_host=False, json={"question": "What is wet?"})
    await talk.ask("deployments", f"GET {path}/deployments", app_host=False)
    await talk.ask("sessions", f"GET {path}/sessions", app_host=False)
    await talk.ask("a session's messages", f"GET {path}/sessions/{SESSION}/messages", app_host=False)
    past = "start_time=2020-01-01T00:00:00Z&end_time=2020-01-02T00:00:00Z&interval=1h"
    await talk.ask("metrics of a time without runs", f"GET {path}/metrics?{past}", app_host=False)
    run = invoked["data"]["id"]
    await talk.ask("files of a run without any", f"GET {path}/runs/{run}/artifacts", app_host=False)
    await talk.ask(
        "a rollback without a version to go back to", f"POST {path}/rollback", app_host=False, json={"dry_run": True}
    )
    await talk.ask("archive", f"POST {path}/archive", app_host=False)
    await talk.ask("an archived app", "POST /v1/runs", json=HI)
    await talk.ask("delete", f"DELETE {path}", app_host=False)
