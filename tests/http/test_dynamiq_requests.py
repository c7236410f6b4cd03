"""What the released command line of the platform sends, as golden requests, and the answers that satisfied it.

`golden/dynamiq_cli.json` is written by `bench/compat_dynamiq.py --golden FILE`, which runs the command line itself: one
request a line, in its order. Ids that an answer gave stand as `{id 3}` where a later request names them. An answer must
have the status that it had, and each field that it showed.
"""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import argon2
import httpx
import pytest

from bench.recording import fields, settled
from stoa.access import NewUser, OrgRole, Passwords, Tokens, Users
from stoa.db import Database
from stoa.kernel.clock import SystemClock
from stoa.kernel.ids import RandomIds
from tests.conftest import FIRST_KEY, Running, serving
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel
from tests.support.running import NO_AUTHORITIES
from tests.support.scripted_model import ScriptedServer

GOLDEN = Path(__file__).parent / "golden" / "dynamiq_cli.json"
_PLACEHOLDER = re.compile(r"\{(org|project|id \d+)\}")
QUICK = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
async def server(cluster: Databases, room: Path) -> AsyncIterator[Running]:
    """With a connection to a scripted model, as the bench has it."""
    name = f"dynamiq_{uuid4().hex}"
    async with (
        ScriptedServer() as provider,
        serving(await cluster.copy(name), room / name, ScriptedModel(), allow_private_addresses=True) as made,
    ):
        config = {"base_url": provider.url, "api_key": "sk-scripted"}
        await made.call("POST", "/v1/connections", 201, json={"name": "openai", "type": "openai", "config": config})
        yield made


async def token_of_an_owner(server: Running) -> str:
    database = await Database.open(server.dsn, connections_max=2)
    try:
        ids, clock = RandomIds(), SystemClock()
        new = NewUser("ada@example.com", "Ada", "", "UTC")
        await Users(database, ids, clock, Passwords(QUICK)).create(new, "correct horse battery", OrgRole.OWNER)
        return await Tokens(database, ids, clock).issue("ada@example.com", "cli", None, None)
    finally:
        await database.close()


class Replay:
    def __init__(self, client: httpx.AsyncClient, keys: Mapping[str, str], known: dict[str, str]) -> None:
        self._client = client
        self._keys = keys
        self._known = known

    async def send(self, one: dict[str, Any]) -> None:
        said = f"dynamiq {one['command']}: {one['request']}"
        method, _, path = self._filled(one["request"]).partition(" ")
        headers = {"Authorization": f"Bearer {self._keys.get(one['credential']) or self._filled(one['credential'])}"}
        if "if_match" in one:
            headers["If-Match"] = self._filled(one["if_match"])
        options: dict[str, Any] = {}
        if "content_type" in one:
            headers["Content-Type"] = one["content_type"]
        if "json" in one:
            options["content"] = self._filled(json.dumps(one["json"]))
        if "form" in one:
            options["files"] = [self._part(part) for part in one["form"]]
        query = [(name, self._filled(value)) for name, value in one.get("query", ())]
        got = await self._client.request(method, path, params=query, headers=headers, **options)
        assert got.status_code == one["status"], f"{said}: {got.status_code} {got.text}"
        answered = got.json() if got.headers["content-type"].startswith("application/json") else None
        missing = set(one.get("fields", ())) - set(fields(answered))
        assert not missing, f"{said}: its answer shows {', '.join(sorted(missing))} no more"
        self._take(one, answered)

    async def until(self, one: dict[str, Any]) -> None:
        _, _, path = self._filled(one["until"]).partition(" ")
        async with asyncio.timeout(30):
            while True:
                got = (await self._client.get(path, headers={"Authorization": f"Bearer {FIRST_KEY}"})).json()
                if settled(got, one["place"], one["is"]):
                    return self._take(one, got)
                await asyncio.sleep(0.02)

    def _take(self, one: dict[str, Any], answered: Any) -> None:
        for name, place in one.get("gives", {}).items():
            value = answered
            for step in place.split("."):
                value = value[int(step) if isinstance(value, list) else step]
            self._known[name] = value

    def _filled(self, text: str) -> str:
        return _PLACEHOLDER.sub(lambda found: self._known[found[1]], text)

    def _part(self, part: dict[str, str]) -> tuple[str, tuple[str | None, str | bytes]]:
        if "file" in part:
            return part["name"], (part["file"], base64.b64decode(part["base64"]))
        return part["name"], (None, self._filled(part["value"]))


async def test_every_request_is_answered_as_the_command_line_was(server: Running) -> None:
    requests = json.loads(GOLDEN.read_text("utf-8"))
    token = await token_of_an_owner(server)
    keys = {"key": FIRST_KEY, "token": token, "none": "stoa_pat_" + "x" * 64}
    (project,) = (await server.call("GET", "/v1/projects"))["data"]
    known = {"org": project["org_id"], "project": project["id"]}
    async with httpx.AsyncClient(verify=NO_AUTHORITIES, base_url=server.url, timeout=30) as client:
        replay = Replay(client, keys, known)
        for one in requests:
            if "until" in one:
                await replay.until(one)
            else:
                await replay.send(one)
    await _connections_are_filtered(server, project["id"])


async def _connections_are_filtered(server: Running, project_id: str) -> None:
    async def listed(query: str) -> int:
        return len((await server.call("GET", f"/v1/connections?{query}"))["data"])

    assert await listed("type=dynamiq.connections.OpenAI") == 1
    assert await listed("type=dynamiq.connections.Exa&type=openai") == 1
    assert await listed("type=dynamiq.connections.Exa") == 0
    assert await listed(f"project_id={project_id}") == 1
    assert await listed(f"project_id={uuid4()}") == 0
