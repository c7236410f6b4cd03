"""A seeded campaign of cuts: connections dropped, servers killed, databases killed, all at random moments of streaming runs.

What must hold: whatever a client has seen is a prefix of the journal, a resume gives exactly the rest, every run ends once,
and the terminal event's hash is the hash of what was seen.
"""

import asyncio
import hashlib
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.scripted_model import ScriptedServer

KEY = "stoa_acc_" + "c" * 64
START_SECONDS_MAX = 60.0
RUN_SECONDS_MAX = 60.0


@dataclass
class Report:
    seed: int
    cuts: Counter[str] = field(default_factory=Counter[str])
    runs: int = 0
    events: int = 0
    endings: Counter[str] = field(default_factory=Counter[str])
    recoveries: int = 0
    lost: int = 0
    repeated: int = 0
    seconds: float = 0.0
    back_seconds: list[float] = field(default_factory=list[float])

    def as_json(self) -> dict[str, Any]:
        waits = sorted(self.back_seconds)
        return {
            "seed": self.seed, "cuts": dict(self.cuts), "runs": self.runs, "events": self.events, "endings": dict(self.endings),
            "recoveries": self.recoveries, "lost": self.lost, "repeated": self.repeated, "seconds": round(self.seconds, 1),
            "next_event_after_kill_seconds": {"n": len(waits), "p50": _at(waits, 0.5), "p99": _at(waits, 0.99)},
        }  # fmt: skip


class Server:
    """A real `stoa serve` on one data directory and one port, that can be killed and started again."""

    def __init__(self, home: Path, model_url: str) -> None:
        self._home = home
        self._model_url = model_url
        self._process: asyncio.subprocess.Process | None = None
        self._port = 0
        self.up = asyncio.Event()
        self.killed_at = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        environment = {
            **os.environ, "STOA_BOOTSTRAP_KEY": KEY, "OPENAI_API_KEY": "x", "OPENAI_BASE_URL": self._model_url, "STOA_LOG_LEVEL": "warning",
            "OLLAMA_HOST": "http://127.0.0.1:9", "STOA_DRAIN_SECONDS_MAX": "0",
        }  # fmt: skip
        environment.pop("ANTHROPIC_API_KEY", None)
        with (self._home.parent / f"{self._home.name}.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "stoa", "serve", "--port", str(self._port), "--data-dir", str(self._home),
                env=environment, stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(START_SECONDS_MAX):
            while line := (await self._process.stdout.readline()).decode():
                if line.startswith("Stoa is ready at "):
                    self._port = int(line.split()[4].rsplit(":", 1)[1])
                    self.up.set()
                    return
        raise AssertionError("the server did not start")

    async def kill(self, *, database: bool) -> None:
        """`kill -9`, the database's postmaster too if asked, then the same command again."""
        assert self._process is not None
        self.up.clear()
        if database:
            pid = next(self._home.rglob("postmaster.pid")).read_text().splitlines()[0]
            os.kill(int(pid), signal.SIGKILL)
        self._process.kill()
        await self._process.wait()
        self.killed_at = time.monotonic()
        await self.start()

    async def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        await self._process.wait()


class Client:
    """One conversation: run after run, each followed through cuts to its terminal event."""

    def __init__(self, number: int, server: Server, model_id: str, dice: random.Random, report: Report, enough: asyncio.Event) -> None:
        self._number, self._server, self._model_id = number, server, model_id
        self._dice, self._report, self._enough = dice, report, enough
        self._conversation_id = ""

    async def run(self) -> None:
        body = {"model_id": self._model_id}
        self._conversation_id = (await self._insist("POST", "/v1/conversations", body, f"conversation-{self._number}"))["data"]["id"]
        turn = 0
        while not self._enough.is_set():
            turn += 1
            async with asyncio.timeout(RUN_SECONDS_MAX):
                await self._follow(turn)
        messages = await self._insist("GET", f"/v1/conversations/{self._conversation_id}/messages?page_size=500")
        roles = [message["role"] for message in messages["data"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2), roles

    async def _follow(self, turn: int) -> None:
        script = {"pieces": [f"{self._number}.{turn}.{i} " for i in range(self._dice.randint(5, 60))], "delay": self._dice.choice([0, 0.004, 0.02])}
        body = {"content": f"Go. [[script {json.dumps(script)}]]"}
        headers = {"Idempotency-Key": f"{self._number}-{turn}", "Authorization": f"Bearer {KEY}"}
        path = f"/v3/conversations/{self._conversation_id}/messages"
        seen: list[dict[str, Any]] = []
        raw: list[str] = []
        run_id = ""
        while not (seen and seen[-1]["type"] in ("run.completed", "run.failed", "run.canceled")):
            await self._server.up.wait()
            patience = self._dice.randint(1, 25) if not self._enough.is_set() else 1 << 30
            try:
                async with httpx.AsyncClient(base_url=self._server.url, timeout=20) as http:
                    if run_id and self._dice.random() < 0.8:
                        query = {"after_sequence": len(seen)} if seen else {}
                        request = http.build_request("GET", f"/v1/runs/{run_id}/stream", params=query, headers=headers)
                        skip = 0
                    else:  # A retry is a resume: the same POST again gives the same run from its first event.
                        request = http.build_request("POST", path, json=body, headers=headers)
                        skip = len(seen)
                    response = await http.send(request, stream=True)
                    assert response.status_code == 200, (response.status_code, await response.aread())
                    run_id = run_id or response.headers["stoa-run-id"]
                    if await self._read(response, seen, raw, skip, patience):
                        self._report.cuts["connection"] += 1
                    await response.aclose()
            except (httpx.TransportError, OSError):
                await asyncio.sleep(0.02)
        await self._check(run_id, seen, raw)

    async def _read(self, response: httpx.Response, seen: list[dict[str, Any]], raw: list[str], skip: int, patience: int) -> bool:
        """Takes whole events only, as every client must; true when it drops the connection in the middle."""
        rest = ""
        async for chunk in response.aiter_text():
            *frames, rest = (rest + chunk).split("\n\n")
            for frame in frames:
                data = next((line[6:] for line in frame.split("\n") if line.startswith("data: ")), None)
                if data is None:
                    continue
                event = json.loads(data)
                if event["sequence"] <= skip:
                    assert raw[event["sequence"] - 1] == data, "a replayed event differs"
                    continue
                self._count(event, seen)
                seen.append(event)
                raw.append(data)
                patience -= 1
                if patience == 0:
                    return True
        return False

    def _count(self, event: dict[str, Any], seen: list[dict[str, Any]]) -> None:
        expected = len(seen) + 1
        if event["sequence"] > expected:
            self._report.lost += event["sequence"] - expected
        elif event["sequence"] < expected:
            self._report.repeated += 1
        assert event["sequence"] == expected, f"event {event['sequence']} where {expected} was due"
        if event["type"] == "run.recovered" and self._server.killed_at:
            self._report.back_seconds.append(time.monotonic() - self._server.killed_at)

    async def _check(self, run_id: str, seen: list[dict[str, Any]], raw: list[str]) -> None:
        report, last = self._report, seen[-1]
        digest = hashlib.sha256(b"".join(line.encode() + b"\n" for line in raw[:-1])).hexdigest()
        assert last["data"]["log"] == {"events": len(seen) - 1, "sha256": digest}, "the log's hash is not that of what was seen"
        assert [event["type"] for event in seen].count("run.started") == 1
        assert sum(event["type"] in ("run.completed", "run.failed", "run.canceled") for event in seen) == 1
        stored = await self._insist("GET", f"/v1/runs/{run_id}/events?page_size=500")
        assert stored["data"] == seen, "the journal is not what was seen"
        if last["type"] == "run.completed":
            since = max((event["sequence"] for event in seen if event["type"] == "run.recovered"), default=0)
            text = "".join(event["data"]["delta"] for event in seen if event["type"] == "agent.response.delta" and event["sequence"] > since)
            assert text == last["data"]["output"], "the answer is not the sum of its deltas"
        report.runs += 1
        report.events += len(seen)
        report.recoveries += sum(event["type"] == "run.recovered" for event in seen)
        report.endings[last["type"] if last["type"] != "run.failed" else f"failed: {last['data']['error']['code']}"] += 1

    async def _insist(self, method: str, path: str, body: object = None, key: str | None = None) -> Any:
        """A call that is made again until the server answers it."""
        headers = {"Authorization": f"Bearer {KEY}", **({"Idempotency-Key": key} if key else {})}
        async with asyncio.timeout(RUN_SECONDS_MAX):
            while True:
                await self._server.up.wait()
                try:
                    async with httpx.AsyncClient(base_url=self._server.url, timeout=20) as http:
                        response = await http.request(method, path, json=body, headers=headers)
                    if response.status_code != 503:
                        assert response.status_code in (200, 201), response.text
                        return response.json()
                except (httpx.TransportError, OSError):
                    pass
                await asyncio.sleep(0.05)


async def campaign(home: Path, *, cuts: int, seed: int, clients: int = 8, kills: int) -> Report:
    """At least `cuts` cuts, `kills` of them of the server (every fourth with its database). Raises AssertionError on a broken promise."""
    dice, report, began, enough = random.Random(seed), Report(seed), time.monotonic(), asyncio.Event()
    async with ScriptedServer() as model:
        server = Server(home, model.url)
        await server.start()
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(base_url=server.url, headers=headers) as http:
            listed = (await http.get("/v1/router/models")).json()["data"]
        model_id = next(entry["id"] for entry in listed if entry["slug"] == "openai/scripted")
        async with asyncio.TaskGroup() as crew:
            for number in range(clients):
                crew.create_task(Client(number, server, model_id, random.Random(dice.random()), report, enough).run())
            for kill in range(kills):
                due = cuts * (kill + 1) // (kills + 1)
                while report.cuts.total() < due:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(dice.random() * 0.2)
                both = kill % 4 == 3
                await server.kill(database=both)
                report.cuts["server and database" if both else "server"] += 1
            while report.cuts.total() < cuts:
                await asyncio.sleep(0.01)
            enough.set()
        await server.stop()
    report.seconds = time.monotonic() - began
    return report


def _at(values: list[float], quantile: float) -> float | None:
    return round(values[min(len(values) - 1, int(len(values) * quantile))], 2) if values else None
