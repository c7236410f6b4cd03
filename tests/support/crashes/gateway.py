"""The campaign of the gateway: provider, client and server are killed at any byte of an exchange. Afterwards the bill,
the doctor and the providers' logs must agree.

What a provider reported is on the bill to the token; what it did not report is estimated within 5 %. Nothing stays
reserved, no call is made again after its first byte, and two answers are never joined.
"""

import asyncio
import itertools
import json
import math
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import httpx

from stoa.db.embedded import start_embedded
from tests.support.crashes.server import KEY, Server
from tests.support.crashes.wire_provider import Exchange, Fate, WireProvider, answer, pieces_of

SETTLED_SECONDS_MAX: Final = 60.0
CLEAN_EVERY: Final = 3
"""A call that succeeds, after so many that fail: five failures in a row would open a provider's circuit."""
WORDS: Final = "the quick brown fox jumps over the lazy dog " * 12
PRICES: Final = {"alpha/m": (1.0, 2.0), "beta/m": (3.0, 4.0)}
"""US dollars per million tokens."""
TOLERANCE: Final = 0.05


class Kind(NamedTuple):
    """How a call is made: the front's path, who is asked first, and whether the answer is streamed."""

    front: str
    first: str
    streamed: bool

    @property
    def second(self) -> str:
        return "beta" if self.first == "alpha" else "alpha"

    def translates(self, provider: WireProvider) -> bool:
        return self.front.endswith("messages") != (provider.wire == "anthropic")

    def streamed_by(self, provider: WireProvider) -> bool:
        """A provider whose answer is translated streams it, whatever the caller gets."""
        return self.streamed or self.translates(provider)

    def begun(self, provider: WireProvider, exchange: Exchange) -> bool:
        """Whether the answer has begun: with its first event, or with its first word where it is translated."""
        start = exchange.answer.said[0][0] if self.translates(provider) else exchange.answer.begun
        return exchange.sent >= start


KINDS: Final = [
    Kind(front, first, streamed)
    for front in ("/v1/chat/completions", "/v1/messages")
    for first in ("alpha", "beta")
    for streamed in (True, False)
]


@dataclass
class Report:
    faults: Counter[str] = field(default_factory=Counter[str])
    calls: int = 0
    lines: int = 0
    exact: int = 0
    estimated: int = 0
    worst: float = 0.0
    """The largest part by which an estimate was off."""
    settled_seconds_max: float = 0.0
    """From a kill of the server until its calls were on the bill, the new server's start included."""
    resumed: int = 0
    complete: bool = True
    """Whether there was time for every fault."""

    def as_json(self) -> dict[str, Any]:
        numbers = {name: getattr(self, name) for name in ("calls", "lines", "exact", "estimated", "resumed")}
        worst, settled = round(self.worst, 4), round(self.settled_seconds_max, 2)
        more = {"worst": worst, "settled_seconds_max": settled, "complete": self.complete}
        return {"faults": dict(self.faults), **numbers, **more}


class Campaign:
    def __init__(self, home: Path, seed: int) -> None:
        self.home = home
        self.random = random.Random(seed)
        self.until = math.inf
        """When (time.monotonic) the part of the campaign that is under way ends, whatever is left of it."""
        self.providers = {"alpha": WireProvider("alpha", "openai"), "beta": WireProvider("beta", "anthropic")}
        self.report = Report()
        self._numbers = itertools.count()
        self.keys: list[str] = []
        self.kinds: dict[str, Kind] = {}
        self.server: Server
        self.http: httpx.AsyncClient

    # --- the installation -------------------------------------------------------------------------------------------
    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        config = self.home.parent / f"{self.home.name}.toml"
        async with self.providers["alpha"] as alpha, self.providers["beta"] as beta:
            config.write_text(_config(alpha.url, beta.url))
            self.server = Server(self.home, alpha.url, config=config)
            await self.server.start()
            try:
                limits = httpx.Limits(max_connections=400, max_keepalive_connections=20)
                async with httpx.AsyncClient(base_url=self.server.url, timeout=30, limits=limits) as self.http:
                    for fields in ({"name": "free"}, {"name": "limited", "spending_limit": 1_000}):
                        made = await self.http.post("/v1/access-keys", json=fields, headers=_bearer(KEY))
                        assert made.status_code == 201, made.text
                        self.keys.append(made.json()["data"]["key"])
                    yield
            finally:
                await self.server.stop()

    def new_call(self, kind: Kind) -> tuple[str, dict[str, Any]]:
        """A name that no other call has, and the request."""
        name = f"c{next(self._numbers)}"
        self.kinds[name] = kind
        self.report.calls += 1
        body = {"model": f"from-{kind.first}", "messages": [{"role": "user", "content": f"{name} {WORDS}"}]}
        body |= {"stream": kind.streamed, "max_tokens": 500}
        if kind.front.endswith("messages"):
            return name, {**body, "metadata": {"user_id": name}}
        return name, {**body, "user": name}

    def headers(self, name: str) -> dict[str, str]:
        return _bearer(self.keys[int(name[1:]) % len(self.keys)])

    async def whole(self, kind: Kind, name: str, body: dict[str, Any]) -> tuple[int, str]:
        """The status and the body, as far as it came."""
        got = bytearray()
        status = 0
        try:
            url = f"/router{kind.front}"
            async with self.http.stream("POST", url, json=body, headers=self.headers(name)) as response:
                status = response.status_code
                async for chunk in response.aiter_bytes():
                    got += chunk
        except httpx.HTTPError:
            pass  # The server was killed.
        return status, got.decode()

    async def clean(self) -> None:
        """A call of each provider that nothing befalls."""
        for first in self.providers:
            kind = Kind("/v1/chat/completions", first, streamed=True)
            name, body = self.new_call(kind)
            status, text = await self.whole(kind, name, body)
            assert status == 200, text
            assert text.rstrip().endswith("[DONE]")

    def cuts(self, kind: Kind, every: int) -> Sequence[int]:
        """Bytes of an answer, each `every`th and the ends."""
        provider = self.providers[kind.first]
        end = len(answer(provider.wire, kind.first, streamed=kind.streamed_by(provider), prompt=1).content)
        start = self.random.randrange(every)
        return sorted({0, *range(start, end, every), end - 1})

    # --- the provider dies ------------------------------------------------------------------------------------------
    async def providers_die(self, kinds: Iterable[Kind], every: int) -> None:
        places = [(kind, at) for kind in kinds for at in self.cuts(kind, every)]
        self.random.shuffle(places)  # So that a part of them is of all.
        for number, (kind, at) in enumerate(places):
            if self.over():
                break
            if number % CLEAN_EVERY == 0:
                await self.clean()
            name, body = self.new_call(kind)
            self.providers[kind.first].fates[name] = Fate(at)
            status, text = await self.whole(kind, name, body)
            self.report.faults["provider"] += 1
            self._check_seam(kind, name, status, text)

    def over(self) -> bool:
        """Whether the time for this part is over; the report says so."""
        ended = time.monotonic() > self.until
        self.report.complete = self.report.complete and not ended
        return ended

    def _check_seam(self, kind: Kind, name: str, status: int, text: str) -> None:
        first, second = (self.providers[one].log.get(name) for one in (kind.first, kind.second))
        assert first is not None, (kind, name)
        # A kept connection that closes without a byte may have been closed before: the request goes over a new one.
        assert first.asked == 1 or not first.sent, (kind, name, first.asked)
        ours = [one for one in (kind.first, kind.second) if f"{one} says" in text]
        assert len(ours) < 2, f"two answers were joined: {kind} {name}"
        begun = kind.begun(self.providers[kind.first], first)
        assert begun == (second is None), f"a call was made again after its first byte, or not before: {kind} {name}"
        if second is None:
            expected = (200,) if kind.streamed or first.reported else (200, 502)
            assert status in expected, (kind, first.sent, text)
        else:
            assert second.asked == 1
            assert status == 200, text
            assert all(piece.strip() in text for piece in pieces_of(kind.second)), (kind, name)

    # --- the client dies --------------------------------------------------------------------------------------------
    async def clients_die(self, kinds: Iterable[Kind], every: int) -> None:
        for kind in kinds:
            await self._clients_die_asking(kind, every)
            if kind.streamed:
                await self._clients_die_reading(kind, every)

    async def _clients_die_asking(self, kind: Kind, every: int) -> None:
        """Nobody is asked what was not asked to its end."""
        _, body = self.new_call(kind)
        size = len(self._request(kind, "c0", body))
        for at in {*range(self.random.randrange(every), size, every), size - 1}:
            if self.over():
                break
            name, body = self.new_call(kind)
            reader, writer = await self._connect()
            writer.write(self._request(kind, name, body)[:at])
            await writer.drain()
            writer.transport.abort()
            del reader
            self.report.faults["client asking"] += 1
            assert all(name not in provider.log for provider in self.providers.values())

    async def _clients_die_reading(self, kind: Kind, every: int) -> None:
        """The provider has said everything and waits with its count."""
        provider = self.providers[kind.first]
        wire = answer(provider.wire, kind.first, streamed=True, prompt=1)
        hold = wire.said[-1][0] + 2
        end = await self._read_then_die(kind, hold, None)
        for at in range(self.random.randrange(1, every + 1), end, every):
            if self.over():
                break
            await self._read_then_die(kind, hold, at)

    async def _read_then_die(self, kind: Kind, hold: int, at: int | None) -> int:
        """Reads so many bytes, all text where None; gives how many came. The same text comes in fewer bytes where
        several events share a chunk, so that all text may be less than was asked for."""
        name, body = self.new_call(kind)
        fate = self.providers[kind.first].fates[name] = Fate(hold, hold=True)
        last = pieces_of(kind.first)[-1].strip().encode()
        reader, writer = await self._connect()
        writer.write(self._request(kind, name, body))
        got = bytearray()
        async with asyncio.timeout(30):
            while last not in got and (at is None or len(got) < at):
                piece = await reader.read(65_536 if at is None else at - len(got))
                assert piece, got
                got += piece
            await fate.reached.wait()
            writer.transport.abort()
            await fate.left.wait()
        self.report.faults["client reading"] += 1
        return len(got)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", urlsplit(self.server.url).port)

    def _request(self, kind: Kind, name: str, body: dict[str, Any]) -> bytes:
        content = json.dumps(body).encode()
        lines = {**self.headers(name), "Host": "localhost", "Content-Type": "application/json"}
        lines["Content-Length"] = str(len(content))
        head = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
        return f"POST /router{kind.front} HTTP/1.1\r\n{head}\r\n".encode() + content

    # --- the server dies --------------------------------------------------------------------------------------------
    async def servers_die(self, kinds: Iterable[Kind], every: int, at_once: int) -> None:
        """All calls under way, each held at another byte of its answer, lose their server."""
        places = [(kind, at) for kind in kinds for at in self.cuts(kind, every)]
        self.random.shuffle(places)
        for start in range(0, len(places), at_once):
            if self.over():
                break
            await self.clean()
            await self._server_dies(places[start : start + at_once], database=start % (2 * at_once) > 0)

    async def _server_dies(self, places: Sequence[tuple[Kind, int]], *, database: bool) -> None:
        fates: list[Fate] = []
        async with asyncio.TaskGroup() as group:
            for kind, at in places:
                name, body = self.new_call(kind)
                fates.append(Fate(at, hold=True))
                self.providers[kind.first].fates[name] = fates[-1]
                group.create_task(self.whole(kind, name, body))
            async with asyncio.timeout(60):
                for fate in fates:
                    await fate.reached.wait()
                for _ in range(3):  # What was sent before these requests has been read when they are answered.
                    assert (await self.http.get("/health")).status_code == 200
            self.report.faults["server"] += len(places)
            await self.server.kill(database=database)
        await self.settled()
        self.report.settled_seconds_max = max(self.report.settled_seconds_max, self.server.seconds_since_kill())

    # --- streams that can be resumed --------------------------------------------------------------------------------
    async def resumables(self, every: int, kills: int) -> None:
        reference = await self._resumable(None)
        size = len(reference)
        for at in range(self.random.randrange(every), size, every):
            if self.over():
                break
            await self._resumable(at)
        for name, fault in (("alpha", "server of a resumable"), ("beta", "server of a fallback's resumable")):
            said = self._said_by(name)
            for number in range(kills):
                await self._resumable_killed(self.providers[name], said[number * len(said) // kills][0] + 2)
                self.report.faults[fault] += 1

    async def _resumable(self, at: int | None) -> bytes:
        """The client dies after so many bytes, and goes on where it was."""
        name, body, headers = self._resumable_call()
        got = bytearray()
        async with self.http.stream("POST", _RESUMABLE, json=body, headers=headers) as response:
            assert response.status_code == 200
            async for chunk in response.aiter_bytes():
                got += chunk
                if at is not None and len(got) >= at:
                    break
        seen = bytes(got[:at])
        if at is not None:
            self.report.faults["client of a resumable"] += 1
            seen = _complete(seen)
            seen += await self._rest(body, headers, seen)
        events = _events(seen)
        assert [one for one, _ in events if one] == list(range(1, sum(1 for one, _ in events if one) + 1)), events
        assert _text(events) == "".join(pieces_of("alpha")), events
        assert events[-1][1] == "[DONE]"
        assert self.providers["alpha"].log[name].asked == 1
        return seen

    async def _resumable_killed(self, answering: WireProvider, hold: int) -> None:
        """The server dies in the middle of an answer: what the client has is kept, and nothing is asked again. Where it
        is beta that answers, alpha was asked first and closed its connection."""
        name, body, headers = self._resumable_call()
        if answering.name != "alpha":
            body["model"] = "from-alpha"
            self.providers["alpha"].fates[name] = Fate(0)
        answering.fates[name] = Fate(hold, hold=True)
        got = bytearray()
        said = sum(size for end, size in self._said_by(answering.name) if end <= hold)
        async with self.http.stream("POST", _RESUMABLE, json=body, headers=headers) as response:
            async for chunk in response.aiter_bytes():
                got += chunk
                if len(_text(_events(_complete(bytes(got))))) >= said:
                    break
        asked = {one.name: one.log[name].asked for one in self.providers.values() if name in one.log}
        for provider in self.providers.values():
            provider.fates.pop(name, None)
        await self.server.kill(database=False)
        seen = _complete(bytes(got))
        rest = await self._rest(body, headers, seen)
        events = _events(seen + rest)
        assert _text(events) == "".join(pieces_of(answering.name))[:said], "what follows is no other answer"
        assert "error" in rest.decode()
        assert asked[answering.name] == 1
        again = {one.name: one.log[name].asked for one in self.providers.values() if name in one.log}
        assert again == asked, "a call was made again after its first byte"

    def _said_by(self, name: str) -> Sequence[tuple[int, int]]:
        return answer(self.providers[name].wire, name, streamed=True, prompt=1).said

    def _resumable_call(self) -> tuple[str, dict[str, Any], dict[str, str]]:
        kind = Kind("/v1/chat/completions", "alpha", streamed=True)
        name, body = self.new_call(kind)
        self.report.calls -= 1  # It is a run's.
        headers = {**_bearer(self.keys[0]), "Stoa-Resumable": "true", "Idempotency-Key": name}
        return name, {**body, "model": "alpha/m"}, headers

    async def _rest(self, body: dict[str, Any], headers: dict[str, str], seen: bytes) -> bytes:
        """What follows what was seen, by the id of its chunks, or by the same request where none came."""
        numbers = [number for number, _ in _events(seen) if number]
        self.report.resumed += 1
        if not numbers:
            return (await self.http.post(_RESUMABLE, json=body, headers=headers)).content
        completion = json.loads(_events(seen)[0][1])["id"]
        after = {**_bearer(self.keys[0]), "Last-Event-ID": str(numbers[-1])}
        answered = await self.http.get(f"{_RESUMABLE}/{completion}", headers=after)
        assert answered.status_code == 200, answered.text
        return answered.content

    # --- what must hold ---------------------------------------------------------------------------------------------
    def expected(self) -> dict[str, tuple[str, Exchange]]:
        """The line of each call: who was asked last, if that provider began to answer or was asked no more."""
        found: dict[str, tuple[str, Exchange]] = {}
        for provider in self.providers.values():
            for name, exchange in provider.log.items():
                if name not in found or self.kinds[name].begun(provider, exchange):
                    found[name] = (f"{provider.name}/m", exchange)
        return found

    async def settled(self) -> None:
        """Waits until as many calls are on the bill as providers were asked."""
        wanted = len(self.expected())
        async with asyncio.timeout(SETTLED_SECONDS_MAX):
            while (lines := await self._lines()) < wanted:
                await asyncio.sleep(0.05)
        assert lines == wanted, (lines, wanted)

    async def _lines(self) -> int:
        total = 0
        for kind in ("gateway", "run"):
            rows = (await self.http.get(f"/v1/usage?kind={kind}", headers=_bearer(KEY))).json()["data"]
            total += sum(row["calls"] for row in rows)
        return total

    async def healthy(self) -> None:
        """On a busy machine the doctor may stop before its last check; it is asked again then."""
        for _ in range(DOCTORS_MAX):
            doctor = (await self.http.get("/v1/doctor", headers=_bearer(KEY))).json()["data"]
            assert not doctor["broken"], doctor
            if doctor["complete"]:
                break
        assert doctor["healthy"], doctor

    async def audit(self) -> None:
        """The bill beside the providers' logs. The server is down."""
        embedded = await start_embedded(self.home)
        database = await asyncpg.connect(embedded.dsn)
        try:
            lines = await database.fetch("SELECT * FROM model_calls WHERE kind = 'gateway'")
            assert await database.fetchval("SELECT count(*) FROM key_reservations") == 0
            spent = await database.fetchval("SELECT sum(usd) FROM key_spending")
            limited = await database.fetchval(
                "SELECT sum(c.cost_usd) FROM model_calls c JOIN access_keys k ON k.id = c.key_id"
                " WHERE k.spending_limit_usd IS NOT NULL"
            )
            assert spent == limited, "what a key spent is what its calls cost"
        finally:
            await database.close()
            await embedded.stop()
        self.report.lines = len(lines)
        repeated = [name for name, times in Counter(line["user_id"] for line in lines).items() if times > 1]
        assert not repeated, f"on the bill twice: {repeated}"
        by_name = {line["user_id"]: line for line in lines}
        for name, (model, exchange) in self.expected().items():
            if name in by_name:
                self._compare(by_name.pop(name), model, exchange)
        assert not by_name, f"on the bill, and asked of nobody: {sorted(by_name)}"

    def _compare(self, line: asyncpg.Record, model: str, exchange: Exchange) -> None:
        assert line["model"] == model, (line, model)
        counts = (line["prompt_tokens"], line["completion_tokens"])
        prompt, completion = PRICES[model]
        assert abs(float(line["cost_usd"]) - (counts[0] * prompt + counts[1] * completion) / 1e6) < 1e-8
        if not line["estimated"]:
            assert exchange.reported, (dict(line), exchange.sent)
            assert counts == exchange.billed, (dict(line), exchange.billed)
            self.report.exact += 1
            return
        assert not exchange.reported, ("the provider's count was not taken", dict(line), exchange.sent)
        self.report.estimated += 1
        off = abs(sum(counts) - sum(exchange.billed)) / sum(exchange.billed)
        self.report.worst = max(self.report.worst, off)
        assert off <= TOLERANCE, (dict(line), exchange.billed, exchange.sent)


DOCTORS_MAX: Final = 10
_RESUMABLE: Final = "/router/v1/chat/completions"


async def gateway_campaign(
    home: Path, *, seed: int, every: int, at_once: int, kills: int, seconds_max: float = math.inf
) -> Report:
    """`every`: how many bytes of an exchange are passed over between two faults. Each part of the campaign has its
    share of `seconds_max`."""
    campaign = Campaign(home, seed)
    begun = time.monotonic()
    async with campaign.running():
        campaign.until = begun + 0.35 * seconds_max
        await campaign.providers_die(KINDS, every)
        campaign.until = begun + 0.6 * seconds_max
        await campaign.clients_die(KINDS, every)
        campaign.until = begun + 0.7 * seconds_max
        await campaign.resumables(every, kills)
        campaign.until = begun + seconds_max
        await campaign.servers_die(KINDS, every, at_once)
        await campaign.settled()
        await campaign.healthy()
    await campaign.audit()
    return campaign.report


def _config(alpha: str, beta: str) -> str:
    providers = [("alpha", "openai", alpha), ("beta", "anthropic", beta)]
    tables = [
        f'[[providers]]\nname = "{name}"\ntype = "{kind}"\nbase_url = "{url}"\napi_key = "x"\nmodels = ["m"]\n'
        for name, kind, url in providers
    ]
    tables += [
        f'[[router]]\nslug = "from-{first}"\ntargets = [{{model = "{first}/m"}}, {{model = "{second}/m", order = 1}}]\n'
        for first, second in (("alpha", "beta"), ("beta", "alpha"))
    ]
    tables += [
        f'[[prices]]\nmodel = "{model}"\nprompt = {prompt}\ncompletion = {completion}\n'
        for model, (prompt, completion) in PRICES.items()
    ]
    return "\n".join(tables)


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _complete(stream: bytes) -> bytes:
    return stream[: stream.rfind(b"\n\n") + 2] if b"\n\n" in stream else b""


def _events(stream: bytes) -> list[tuple[int, str]]:
    """The number (0: none) and the data of each event."""
    found: list[tuple[int, str]] = []
    for event in stream.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in event.splitlines() if ": " in line and not line.startswith(":"))
        if "data" in lines:
            found.append((int(lines.get("id", 0)), lines["data"]))
    return found


def _text(events: Sequence[tuple[int, str]]) -> str:
    chunks = [json.loads(data) for _, data in events if data != "[DONE]"]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", ()))
