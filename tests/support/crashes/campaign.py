"""A seeded campaign of faults: real nodes on one database, a scripted model, tools with effects, subagents and people.
At random moments connections are cut, runs cancelled, nodes killed, frozen, drained and partitioned, and the database
is killed.

Invariants: what a client has seen is a prefix of the journal; a resume returns exactly the rest; every run ends once;
its terminal event's hash matches the events seen; nothing follows an acknowledged cancel; no effect is repeated without
permission; at the end the doctor finds nothing.
"""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import asyncpg

from stoa.app import open_doctor
from stoa.db.checks import Scope
from stoa.db.embedded import EmbeddedServer, start_embedded
from stoa.settings import Settings
from tests.support.crashes.client import Client
from tests.support.nodes import BlockableProxy, Node, ToolServer
from tests.support.scripted_model import ScriptedServer

NODES = 3
TOOLS: dict[str, dict[str, Any]] = {"once": {}, "again": {"idempotent": True}, "asks": {"approval": True}}
FATES = {
    "kill": 6,
    "nap": 4,
    "freeze": 3,
    "drain": 3,
    "reset": 8,
    "partition": 3,
    "database": 1,
    "everything": 1,
}
"""How often each fault happens to the nodes, in proportion. Clients cut connections and cancel runs."""
FULL_SECONDS = (0.5, 4.0)
"""How long a disk stays full: minimum and maximum."""
LOST: tuple[str, ...] = ("kill", "freeze", "partition")
"""Faults after which a run continues elsewhere within seconds."""


@dataclass
class Report:
    seed: int
    faults: Counter[str] = field(default_factory=Counter[str])
    runs: int = 0
    events: int = 0
    endings: Counter[str] = field(default_factory=Counter[str])
    recoveries: int = 0
    lost: int = 0
    repeated: int = 0
    questions: int = 0
    doubts: int = 0
    effects: Counter[str] = field(default_factory=Counter[str])
    effects_repeated: int = 0
    doctor: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    back_seconds: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in LOST})
    resumed_seconds: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    """From a standby's promotion until a client has its next event."""

    def as_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "faults": dict(self.faults),
            "faults_total": self.faults.total(),
            "runs": self.runs,
            "events": self.events,
            "endings": dict(self.endings),
            "recoveries": self.recoveries,
            "lost": self.lost,
            "repeated": self.repeated,
            "questions": self.questions,
            "doubts": self.doubts,
            "effects": dict(self.effects),
            "effects_repeated": self.effects_repeated,
            "doctor": self.doctor,
            "seconds": round(self.seconds, 1),
            "taken_over_after_seconds": {kind: spread(found) for kind, found in self.back_seconds.items()},
            "resumed_after_seconds": {kind: spread(found) for kind, found in self.resumed_seconds.items()},
        }


class Disk(Protocol):
    """A small disk that can be filled up."""

    path: Path

    def fill(self) -> None: ...

    def free(self) -> None: ...


class Field:
    """All participants, and the faults that happen to them."""

    kind_of_client: type[Client] = Client

    def __init__(self, home: Path, dice: random.Random, report: Report, disks: tuple[Disk, Disk] | None = None) -> None:
        self.home, self.dice, self.report, self._disks = home, dice, report, disks
        self.model = ScriptedServer()
        self.world = ToolServer()
        self.nodes: list[Node] = []
        self.ways: list[BlockableProxy | None] = []
        self.enough = asyncio.Event()
        self.last_fault: tuple[str, float] = ("", 0.0)
        self._embedded: EmbeddedServer | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.home.mkdir(exist_ok=True)
        await self._stack.enter_async_context(self.model)
        await self._stack.enter_async_context(self.world)
        for place, dsn in enumerate(await self._open_database()):
            node = self._new_node(place, dsn)
            self._stack.push_async_callback(node.end)
            self.nodes.append(await node.start())
        for name, fields in TOOLS.items():
            await self.nodes[0].call("POST", "/v1/tools", 201, json=self.world.tool(name, **fields))
        return self

    def _new_node(self, place: int, dsn: str) -> Node:
        """A node that is not started yet."""
        logs = self._disks[1].path if self._disks else self.home.parent
        log = logs / f"{self.home.name}-node-{place}.log"
        settings = {"STOA_DRAIN_SECONDS_MAX": "1", "STOA_LOG_LEVEL": "warning", **self.settings_of(place)}
        return Node(f"node {place}", dsn, self.home, self.model.url, log, settings)

    async def _open_database(self) -> list[str]:
        """Returns the URL for each node."""
        self._embedded = await start_embedded(self.home)
        self._stack.push_async_callback(self._embedded.stop)
        watch = asyncio.create_task(self._embedded.watch(0.2))
        self._stack.callback(watch.cancel)
        # The first node has its own embedded database; the others connect through a proxy that can be blocked.
        self.ways = [
            None,
            *[await self._stack.enter_async_context(BlockableProxy(self._embedded.dsn)) for _ in range(1, NODES)],
        ]
        return [way.dsn if way else "" for way in self.ways]

    def settings_of(self, _place: int) -> dict[str, str]:
        """A node's settings beside the common ones."""
        return {}

    @property
    def _dsn(self) -> str:
        """Bypasses all proxies."""
        assert self._embedded is not None
        return self._embedded.dsn

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def progress(self, client: int) -> None:
        """Called when a client has received an event."""

    def node(self) -> Node:
        """A running node, if there is one; now and then a dead one."""
        up = [node for node in self.nodes if node.up.is_set()]
        return self.dice.choice(up if up and self.dice.random() < 0.9 else self.nodes)

    # --- faults -----------------------------------------------------------------------------------------------------
    async def befall(self, kind: str) -> None:
        fate: Callable[[], Coroutine[Any, Any, None]] = getattr(self, f"_{kind}")
        await fate()
        self.report.faults[kind] += 1

    def _mark(self, kind: str) -> None:
        self.last_fault = (kind, time.monotonic())

    async def _kill(self) -> None:
        node = self.dice.choice(self.nodes)
        await node.kill()
        self._mark("kill")
        await asyncio.sleep(self.dice.choice([0, 1.5]))
        await self._start(node)

    async def _nap(self) -> None:
        await self._sleep_for(self.dice.uniform(0.3, 2.5))

    async def _freeze(self) -> None:
        self._mark("freeze")
        await self._sleep_for(self.dice.uniform(4.5, 7))

    async def _sleep_for(self, seconds: float) -> None:
        node = self.dice.choice(self.nodes)
        node.freeze()
        node.up.clear()
        await asyncio.sleep(seconds)
        node.thaw()
        node.up.set()

    async def _drain(self) -> None:
        node = self.dice.choice(self.nodes)
        assert await node.drain() == 0, f"{node.name} did not leave in good order"
        await self._start(node)

    async def _reset(self) -> None:
        self._way()[1].cut()

    async def _partition(self) -> None:
        node, way = self._way()
        way.block()
        self._mark("partition")
        await asyncio.sleep(self.dice.uniform(0.5, 7))
        way.open()
        if self.dice.random() < 0.5:
            way.cut()
        assert node.process.is_alive(), f"{node.name} died of being cut off"

    async def _database(self) -> None:
        pid = int(next(self.home.rglob("postmaster.pid")).read_text().splitlines()[0])
        os.kill(pid, signal.SIGKILL)
        await self._database_is_back()

    async def _everything(self) -> None:
        """A power cut."""
        pid = int(next(self.home.rglob("postmaster.pid")).read_text().splitlines()[0])
        await asyncio.gather(*(node.kill() for node in self.nodes))
        os.kill(pid, signal.SIGKILL)
        self._mark("")
        await self._database_is_back()
        await asyncio.gather(*(self._start(node) for node in self.nodes))

    async def _full_data(self) -> None:
        await self._fill(0)

    async def _full_log(self) -> None:
        await self._fill(1)

    async def _full_both(self) -> None:
        await self._fill(0, 1)

    async def _fill(self, *which: int) -> None:
        assert self._disks is not None, "this campaign has no small disks"
        for number in which:
            await asyncio.to_thread(self._disks[number].fill)
        await asyncio.sleep(self.dice.uniform(*FULL_SECONDS))
        for number in which:
            self._disks[number].free()

    def _way(self) -> tuple[Node, BlockableProxy]:
        place = self.dice.randrange(1, NODES)
        way = self.ways[place]
        assert way is not None
        return self.nodes[place], way

    async def _start(self, node: Node) -> None:
        await self._database_is_back()
        await node.start()

    async def _database_is_back(self) -> None:
        async with asyncio.timeout(120):
            while True:
                try:
                    connection = await asyncpg.connect(self._dsn, timeout=5)
                    await connection.close()
                    return
                except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                    await asyncio.sleep(0.1)

    # --- the end ----------------------------------------------------------------------------------------------------
    def _settings(self) -> Settings:
        """The settings of the doctor that examines the result."""
        return Settings(data_dir=self.home)

    async def diagnose(self) -> None:
        async with open_doctor(self._settings(), self._dsn) as doctor:
            report = await doctor.examine(Scope())
        assert report.complete, [diagnosis.name for diagnosis in report.diagnoses if diagnosis.status != "complete"]
        self.report.doctor = {diagnosis.name: diagnosis.count for diagnosis in report.diagnoses}
        assert report.healthy, [
            (diagnosis.name, diagnosis.findings[:3]) for diagnosis in report.diagnoses if diagnosis.count
        ]


async def campaign(
    home: Path,
    *,
    faults: int,
    seed: int,
    clients: int = 8,
    fates: int,
    seconds_max: float = 600,
    every: float = 0.6,
    kinds: Mapping[str, int] = FATES,
    disks: tuple[Disk, Disk] | None = None,
    kind_of_field: type[Field] = Field,
) -> Report:
    """Runs until there were `fates` faults of nodes and database, then adds cuts and cancels until there are `faults`.
    Raises AssertionError for a violated invariant."""
    dice, report, began = random.Random(seed), Report(seed), time.monotonic()
    async with kind_of_field(home, dice, report, disks) as field_:
        model_id = (await field_.nodes[0].call("GET", "/v1/router/models"))["data"]
        chosen = next(model["id"] for model in model_id if model["slug"] == "openai/scripted")
        async with asyncio.TaskGroup() as crew:
            for number in range(clients):
                crew.create_task(field_.kind_of_client(number, field_, chosen, random.Random(dice.random())).live())
            chosen_kinds = list(kinds) + random.Random(seed).choices(
                list(kinds), list(kinds.values()), k=max(0, fates - len(kinds))
            )
            for kind in chosen_kinds[:fates]:
                if time.monotonic() - began > seconds_max:
                    break
                await asyncio.sleep(dice.uniform(0.3, 1.7) * every)
                await field_.befall(kind)
            while report.faults.total() < faults and time.monotonic() - began < seconds_max:
                await asyncio.sleep(0.05)
            field_.enough.set()
        # A run that lost its node three times fails, as documented; no other run may fail.
        assert set(report.endings) <= {"run.completed", "run.canceled", "failed: attempts_exhausted"}, report.endings
        _settle_effects(field_)
        await field_.diagnose()
    report.seconds = time.monotonic() - began
    return report


def _settle_effects(field_: Field) -> None:
    """Checks the effects of all runs once they have ended."""
    report = field_.report
    by_name: dict[str, list[str]] = {}
    for made in field_.world.made:
        by_name.setdefault(str(made.arguments["n"]), []).append(made.key)
    for name, keys in by_name.items():
        tool = name.split("-", 1)[0]
        report.effects[tool] += len(keys)
        report.effects_repeated += len(keys) - 1
        if tool == "again":
            assert len(set(keys)) == 1, f"{name}: a repeated call has the same key"
        else:
            allowed = 1 + Client.approved_doubts[name]
            assert len(keys) <= allowed, f"{name}: {len(keys)} effects, {allowed} were allowed"
        if tool == "asks":
            assert name in Client.approved, f"{name} was made, and nobody had approved it"


def spread(values: list[float]) -> dict[str, Any]:
    ordered = sorted(values)
    return {"n": len(ordered)} | {
        f"p{round(at * 100)}": round(ordered[min(len(ordered) - 1, int(len(ordered) * at))], 2)
        for at in (0.5, 0.9, 0.99)
        if ordered
    }
