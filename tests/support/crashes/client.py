"""A client of the campaign, and the person behind it. It starts one run after the other in one conversation, and
follows each to its end through every fault."""

import asyncio
import hashlib
import json
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

import httpx

from tests.support.nodes import TERMINAL, frames, hidden, script

if TYPE_CHECKING:
    from tests.support.crashes.campaign import Field

DOUBT = "may already have been made"
_BROKEN = (httpx.TransportError, OSError, TimeoutError)


class Client:
    approved: ClassVar[set[str]] = set()
    """Calls that were approved, by their argument `n`."""
    approved_doubts: ClassVar[Counter[str]] = Counter()
    """Calls that a person wants repeated although they may have happened: how often, by `n`."""

    delays: ClassVar[tuple[float, ...]] = (0, 0.004, 0.02)
    """Seconds between the pieces of an answer; one value is chosen for each answer."""
    patience: ClassVar[tuple[int, int]] = (1, 9)
    """After how many events a client disconnects and resumes: a number in this range."""
    run_seconds_max: ClassVar[float] = 240.0
    answer_seconds_max: ClassVar[float] = 6.0
    """How long it waits for the next byte before it asks another node."""

    def __init__(self, number: int, field: "Field", model_id: str, dice: random.Random) -> None:
        self._number, self._field, self._model_id, self._dice = number, field, model_id, dice
        self._report = field.report
        self._conversation_id = ""
        self._canceled: asyncio.Task[int] | None = None
        self._answers: list[asyncio.Task[None]] = []

    async def live(self) -> None:
        agent = {"instructions": "Work.", "tools": ["once", "again", "asks"], "human_feedback": True}
        body = {"model_id": self._model_id, "agent": agent}
        self._conversation_id = (await self._insist("POST", "/v1/conversations", body, f"conversation-{self._number}"))[
            "data"
        ]["id"]
        turn = 0
        while not self._field.enough.is_set():
            turn += 1
            async with asyncio.timeout(self.run_seconds_max):
                await self._before(turn)
                await self._live_one(turn)
        messages: list[dict[str, Any]] = []
        page = 1
        while page == 1 or len(messages) == (page - 1) * 500:
            messages += (
                await self._insist(
                    "GET", f"/v1/conversations/{self._conversation_id}/messages?page_size=500&page={page}"
                )
            )["data"]
            page += 1
        roles = [message["role"] for message in messages]
        assert roles == ["user", "assistant"] * turn, "a history with a gap"

    async def _before(self, turn: int) -> None:
        """What it does before each message: nothing here."""

    # --- what is asked for ------------------------------------------------------------------------------------------
    def _words(self, name: str, most: int) -> dict[str, Any]:
        return {
            "pieces": [f"{name}.{n} " for n in range(self._dice.randint(3, most))],
            "delay": self._dice.choice(self.delays),
        }

    def _tool(self, tool: str, name: str) -> dict[str, Any]:
        arguments = {"n": f"{tool}-{name}", "wait": self._dice.choice([0, 0, 0.05, 0.3])}
        return self._words(name, 6) | {"tool": {"name": tool, "arguments": json.dumps(arguments)}}

    def _task(self, name: str) -> dict[str, Any]:
        """The body of a message; `name` is its own."""
        dice = self._dice.random()
        if dice < 0.45:
            return {"content": script(**self._words(name, 50))}
        if dice < 0.9:
            steps: list[dict[str, Any]] = []
            for number in range(self._dice.randint(1, 3)):
                tool = self._dice.choice(["once", "once", "again", "asks", "ask_human"])
                step = self._tool(tool, f"{name}.{number}")
                if tool == "ask_human":
                    step["tool"]["arguments"] = json.dumps({"question": f"Which one, {name}?"})
                steps.append(step)
            return {"content": script(turns=[*steps, self._words(name, 20)])}
        brief = hidden(script(turns=[self._tool("again", f"{name}.helper"), self._words(f"{name}.helper", 10)]))
        call = {"tool": {"name": "delegate", "arguments": json.dumps({"brief": brief}).replace("\\\\u005d", "\\u005d")}}
        content = script(turns=[self._words(name, 4) | call, self._words(name, 10)])
        return {"content": content.replace("\\\\u005d", "\\u005d"), "subagents_enabled": True}

    # --- one run ----------------------------------------------------------------------------------------------------
    async def _live_one(self, turn: int) -> None:
        body, key = self._task(f"{self._number}.{turn}"), f"{self._number}-{turn}"
        seen: list[dict[str, Any]] = []
        raw: list[str] = []
        run_id = ""
        self._canceled = None
        cancel_at = self._dice.randint(1, 30) if self._dice.random() < 0.1 else 0
        while not (seen and seen[-1]["type"] in TERMINAL):
            for answer in self._answers:
                if answer.done():
                    answer.result()
            patience = self._dice.randint(*self.patience) if not self._field.enough.is_set() else 1 << 30
            try:
                async with self._field.node().client(self.answer_seconds_max) as http:
                    if run_id and self._dice.random() < 0.8:
                        query = {"after_sequence": len(seen)} if seen else {}
                        request, skip = http.build_request("GET", f"/v1/runs/{run_id}/stream", params=query), 0
                    else:  # A repeated POST resumes: it returns the same run from its first event.
                        path = f"/v3/conversations/{self._conversation_id}/messages"
                        request, skip = (
                            http.build_request("POST", path, json=body, headers={"Idempotency-Key": key}),
                            len(seen),
                        )
                    response = await http.send(request, stream=True)
                    try:
                        if response.status_code == 503:
                            await asyncio.sleep(0.1)
                            continue
                        assert response.status_code == 200, (response.status_code, await response.aread())
                        run_id = run_id or response.headers["stoa-run-id"]
                        async for event, line in frames(response):
                            if event["sequence"] <= skip:
                                assert raw[event["sequence"] - 1] == line, "a replayed event differs"
                                continue
                            self._take(run_id, event, line, seen, raw)
                            if len(seen) == cancel_at:
                                self._canceled = asyncio.create_task(self._cancel(run_id))
                            patience -= 1
                            if patience <= 0 and event["type"] not in TERMINAL:
                                self._report.faults["connection"] += 1
                                break
                    finally:
                        await response.aclose()
            except _BROKEN:
                await asyncio.sleep(0.02)
        await asyncio.gather(*self._answers)
        self._answers.clear()
        await self._check(run_id, seen, raw)

    def _take(self, run_id: str, event: dict[str, Any], line: str, seen: list[dict[str, Any]], raw: list[str]) -> None:
        expected = len(seen) + 1
        self._report.lost += max(0, event["sequence"] - expected)
        self._report.repeated += event["sequence"] < expected
        assert event["sequence"] == expected, f"event {event['sequence']} where {expected} was due"
        seen.append(event)
        raw.append(line)
        self._field.progress(self._number)
        if event["type"] == "run.recovered":
            kind, at = self._field.last_fault
            if kind in self._report.back_seconds and time.monotonic() - at < 20:
                self._report.back_seconds[kind].append(time.monotonic() - at)
        elif event["type"] in ("approval_request.created", "agent.human_feedback.requested"):
            self._answers.append(asyncio.create_task(self._answer(run_id, event["data"])))

    async def _answer(self, run_id: str, asked: dict[str, Any]) -> None:
        """The person answers sooner or later, yes or no, on any node. If the response is lost, the answer is sent
        again."""
        await asyncio.sleep(self._dice.choice([0, 0.05, 0.5]))
        self._report.questions += 1
        data: dict[str, Any] = {"request_id": asked["id"], "feedback": "As you like."}
        kind = "human_feedback"
        if asked["object"] == "approval_request":
            name, doubt = str(asked["params"]["n"]), DOUBT in asked["prompt"]
            kind, data["approved"] = "approval", self._dice.random() < 0.7
            self._report.doubts += doubt
            if data["approved"]:
                if doubt:
                    self.approved_doubts[name] += 1
                else:
                    self.approved.add(name)
        await self._insist("POST", f"/v1/runs/{run_id}/input", {"type": kind, "data": data}, good=(200, 400))

    async def _cancel(self, run_id: str) -> int:
        """Returns the number of events at the acknowledgement of the cancel."""
        await self._insist("POST", f"/v1/runs/{run_id}/cancel")
        self._report.faults["cancel"] += 1
        stored = await self._insist("GET", f"/v1/runs/{run_id}/events?page_size=1")
        return int(stored["pagination"]["total_count"])

    async def _check(self, run_id: str, seen: list[dict[str, Any]], raw: list[str]) -> None:
        report, last = self._report, seen[-1]
        digest = hashlib.sha256(b"".join(line.encode() + b"\n" for line in raw[:-1])).hexdigest()
        assert last["data"]["log"] == {"events": len(seen) - 1, "sha256": digest}, (
            "the log's hash is not that of what was seen"
        )
        assert [event["type"] for event in seen].count("run.started") == 1
        assert sum(event["type"] in TERMINAL for event in seen) == 1
        if self._canceled is not None:
            assert await self._canceled == len(seen), "something was written after an acknowledged cancel"
        stored = await self._insist("GET", f"/v1/runs/{run_id}/events?page_size=500")
        assert stored["data"] == seen[:500], "the journal is not what was seen"
        assert stored["pagination"]["total_count"] == len(seen)
        if last["type"] == "run.completed":
            assert _said(seen) == last["data"]["output"], "the answer is not the sum of its deltas"
        report.runs += 1
        report.events += len(seen)
        report.recoveries += sum(event["type"] == "run.recovered" for event in seen)
        report.endings[
            last["type"] if last["type"] != "run.failed" else f"failed: {last['data']['error']['code']}"
        ] += 1

    async def _insist(
        self,
        method: str,
        path: str,
        body: object = None,
        key: str | None = None,
        good: tuple[int, ...] = (200, 201),
        **options: Any,
    ) -> Any:
        """Repeats a call, on any node, until it is answered. Returns the answer's JSON, or its bytes."""
        headers = {"Idempotency-Key": key} if key else {}
        async with asyncio.timeout(self.run_seconds_max):
            while True:
                try:
                    async with self._field.node().client(2 * self.answer_seconds_max) as http:
                        response = await http.request(method, path, json=body, headers=headers, **options)
                    if response.status_code != 503:
                        assert response.status_code in good, (method, path, response.status_code, response.text)
                        is_json = response.headers.get("content-type") == "application/json"
                        return response.json() if is_json else response.content
                except _BROKEN:
                    pass
                await asyncio.sleep(0.05)


def _said(seen: list[dict[str, Any]]) -> str:
    """The answer as a client assembles it: text that a recovery voids is dropped, and subagents' text is left out."""
    said: list[tuple[int, str]] = []
    for event in seen:
        if event["type"] == "run.recovered":
            said = [piece for piece in said if piece[0] < event["data"]["discard_from"]]
        elif event["type"] == "agent.response.delta" and "source" not in event["data"]:
            said.append((event["sequence"], event["data"]["delta"]))
    return "".join(text for _, text in said)
