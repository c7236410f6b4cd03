#!/usr/bin/env python3
"""How much many nodes on one PostgreSQL can handle, what a million streams need, and what a failure costs: a simulation
with measured costs.

    python bench/scale.py                                    simulates with the costs below
    python bench/scale.py --measure --tools ../shared/bench  measures the costs first, on this machine

Measured: processor time of node and database for a run and for a delta, bytes of write-ahead log for both, commits that
notify and commits that do not, and what a node pays for another node's notification.

Simulated (`Group`): the nodes of one primary, each with a core; streams of a fixed rate; and the journal writer: a tick
begins when the previous one is done and some time has passed, uses processor time of the database (several cores) and
commits. Runs begin and end at random times. Stored events are announced after their commit, by a transaction that waits
for no disk; a node sends one in 20 ms, and each wakes every node. These are serialized over the whole server, because
PostgreSQL holds a lock of the notification queue while it commits them. For comparison one row has NOTIFY in the
storing transaction, as before: then that lock is held while a commit waits. Not simulated: the network, the providers,
vacuum, a pooler, other requests. The cost of a failure is computed from the same figures in steps of 50 ms.
"""

import argparse
import asyncio
import heapq
import math
import platform
import random
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast
from uuid import uuid4

import asyncpg

from stoa.db.embedded.server import ROLE
from stoa.db.notifying import GAP_SECONDS, joined
from stoa.journal import Journal
from stoa.journal.live_buffer import LiveBuffer
from stoa.journal.writer import JournalWriter
from stoa.kernel.clock import SystemClock

WANTED: Final = 1_000_000
RATE: Final = 50.0
"""Tokens per second of one stream."""
TOKENS: Final = 200
"""Tokens of one answer."""
PACE_FREE_RUNS: Final = 10
PACE_SECONDS_PER_RUN: Final = 250e-6
PACE_SECONDS_MAX: Final = 0.05
TICKS_PER_PACE: Final = 3
"""As in stoa/journal/writer.py."""
UTILIZATION_MAX: Final = 0.7
"""The highest load of each core and of the write-ahead log: above it queues grow faster than the load."""
LOCK_MAX: Final = 0.9
"""The largest share of time in which the lock of the notifications is held. Ticks that wait for it contain more events
and are rarer, but each end of a run needs it separately."""
LATENCY_P99_MAX: Final = 0.25
"""Seconds from a provider's token to its committed event, at the 99th percentile. Without load it is some 75 ms."""


@dataclass(frozen=True)
class Costs:
    """The costs on one core of the measured machine."""

    node_run_ms: float = 2.5
    node_delta_us: float = 25.0
    database_run_ms: float = 2.2
    database_delta_us: float = 13.0
    log_run_bytes: float = 11_300
    log_delta_bytes: float = 215
    foreign_id_us: float = 0.26
    """What a node pays for each run that another node names in a notification."""
    notify_us: float = 80.0
    """What the database pays for a transaction that only sends notifications,"""
    listener_us: float = 20.0
    """and additionally for each node that it wakes."""
    resume_node_ms: float = 2.3
    """For a client that resumes: the first byte of `bench/resume.py`, taken as processor time."""
    node_memory_kb: float = 83
    """For an open stream: (172 - 89) MB for 1,000 in bench/streams.py."""


@dataclass(frozen=True)
class Machine:
    """Assumptions about a primary. None of them is measured here."""

    name: str
    cores: int
    commit_ms: float
    log_mb_s: float
    apart_ms: float = 0.1
    """How long NOTIFY holds its lock in a transaction of its own after the commit, which waits for no disk and no
    standby. 0: in the transaction that stores the events, as before decision 130."""


LOCAL: Final = Machine("32 cores, own NVMe, no standby waits", 32, 0.15, 400)
REPLICATED: Final = Machine("32 cores, one synchronous standby in another zone", 32, 1.0, 400)
WITHIN: Final = replace(REPLICATED, name="  the same, NOTIFY within the commit, as before", apart_ms=0.0)


@dataclass
class Outcome:
    nodes: int
    streams: int
    latency_p50: float
    latency_p99: float
    node_core: float
    database_cores: float
    commit_queue: float
    log_mb_s: float

    def fits(self, machine: Machine) -> bool:
        return self.limit(machine) == ""

    def limit(self, machine: Machine) -> str:
        """The bottleneck; "" if there is none."""
        if self.node_core > UTILIZATION_MAX:
            return "the nodes' cores"
        if self.database_cores > UTILIZATION_MAX * machine.cores:
            return "the database's cores"
        if self.log_mb_s > UTILIZATION_MAX * machine.log_mb_s:
            return "the write-ahead log"
        if self.commit_queue > LOCK_MAX or self.latency_p99 > LATENCY_P99_MAX:
            return "notifications, one after another" if machine.apart_ms else "commits that notify, one after another"
        return ""


class Group:
    """One primary and its nodes, as discrete events: ticks of the writers, and ends of runs."""

    def __init__(self, nodes: int, streams: int, costs: Costs, machine: Machine, *, seed: int) -> None:
        self._nodes, self._streams, self._costs, self._machine = nodes, streams, costs, machine
        self._dice = random.Random(seed)
        self._cores = [0.0] * machine.cores
        heapq.heapify(self._cores)
        self._lock_free = 0.0
        self._announced = [-1.0] * nodes
        self._locked = self._database = self._node = 0.0
        self._latencies: list[float] = []

    def run(self, seconds: float) -> Outcome:
        pace = min(max(0, self._streams - PACE_FREE_RUNS) * PACE_SECONDS_PER_RUN, PACE_SECONDS_MAX)
        gap = max(pace / TICKS_PER_PACE, 0.001)
        ends_per_second = self._streams * RATE / TOKENS
        # A run is named once for each time that it writes, and each node is notified of the runs of all others.
        names_per_second = (self._nodes - 1) * self._streams / max(pace, 1 / RATE)
        background = (
            names_per_second * self._costs.foreign_id_us * 1e-6 + ends_per_second * self._costs.node_run_ms * 1e-3
        )
        queue = [(self._dice.uniform(0, gap), "tick", node) for node in range(self._nodes)]
        queue += [(self._dice.expovariate(ends_per_second), "end", node) for node in range(self._nodes)]
        heapq.heapify(queue)
        last = [0.0] * self._nodes
        warm = seconds / 5
        while queue:
            now, kind, node = heapq.heappop(queue)
            if now > seconds:
                break
            if kind == "end":
                self._commit(node, now, self._costs.database_run_ms * 1e-3)
                heapq.heappush(queue, (now + self._dice.expovariate(ends_per_second), "end", node))
                continue
            passed = now - last[node]
            deltas = passed * RATE * self._streams
            work = deltas * self._costs.node_delta_us * 1e-6 + passed * background
            self._node += work
            ready = now + max(0.0, work - passed)  # An overloaded core begins its tick later.
            done = self._commit(node, ready, deltas * self._costs.database_delta_us * 1e-6)
            last[node] = now
            if now > warm:
                gathered = self._dice.uniform(0, pace) + self._dice.uniform(0, passed)
                self._latencies.append(gathered + done - now)
            heapq.heappush(queue, (max(done, now + gap), "tick", node))
        found = sorted(self._latencies) or [math.inf]
        rate = self._nodes * self._streams
        return Outcome(
            self._nodes,
            self._streams,
            found[len(found) // 2],
            found[int(len(found) * 0.99)],
            self._node / seconds / self._nodes,
            self._database / seconds,
            self._locked / seconds,
            rate * (RATE * self._costs.log_delta_bytes + RATE / TOKENS * self._costs.log_run_bytes) / 1e6,
        )

    def _commit(self, node: int, at: float, work: float) -> float:
        """Processor time on one of the database's cores, then the commit; returns when it is done."""
        worked = self._work(at, work)
        commit = self._machine.commit_ms * 1e-3
        if self._nodes == 1:  # There is nobody to notify.
            return worked + commit
        if self._machine.apart_ms and worked + commit < self._announced[node] + GAP_SECONDS:
            return worked + commit  # Announced with the next one.
        alone = self._machine.apart_ms * 1e-3 or commit
        self._lock_free = max(worked, self._lock_free) + alone
        self._locked += alone
        if not self._machine.apart_ms:
            return self._lock_free
        self._announced[node] = worked + commit
        self._work(worked + commit, (self._costs.notify_us + self._nodes * self._costs.listener_us) * 1e-6)
        return worked + commit

    def _work(self, at: float, work: float) -> float:
        """On one of the database's cores; returns when it is done."""
        worked = max(at, heapq.heappop(self._cores)) + work
        heapq.heappush(self._cores, worked)
        self._database += work
        return worked


def streams_of_a_node(costs: Costs, nodes: int) -> int:
    """Limited by its core alone: its own streams, and notifications of the other nodes' streams."""
    own = RATE * costs.node_delta_us * 1e-6 + RATE / TOKENS * costs.node_run_ms * 1e-3
    of_others = (nodes - 1) / PACE_SECONDS_MAX * costs.foreign_id_us * 1e-6
    return int(UTILIZATION_MAX * 0.99 / (own + of_others))


def largest(costs: Costs, machine: Machine) -> tuple[Outcome, Outcome]:
    """The group with the highest throughput, and the first larger one that is overloaded or handles no more."""

    def tried(nodes: int) -> Outcome:
        return Group(nodes, streams_of_a_node(costs, nodes), costs, machine, seed=nodes).run(6)

    def better(nodes: int, than: Outcome) -> Outcome | None:
        found = tried(nodes)
        more = found.nodes * found.streams > than.nodes * than.streams * 1.01
        return found if found.fits(machine) and more else None

    best, beyond = tried(1), 2
    while (found := better(beyond, best)) and beyond < 1024:
        best, beyond = found, beyond * 2
    low, high = best.nodes, beyond
    while high - low > max(1, low // 20):
        middle = (low + high) // 2
        if found := better(middle, best):
            best, low = found, middle
        else:
            high = middle
    return best, tried(high)


@dataclass(frozen=True)
class Loss:
    name: str
    lost: float
    """The share of a group's nodes."""
    noticed_seconds: tuple[float, float]
    """From the loss until a client notices it: minimum and maximum."""
    taken_over_seconds: float
    """Until other nodes claim the runs: measured in bench/nodes.py."""


LOSSES: Final = (
    Loss("one node killed", 0.0, (0.0, 0.1), 0.25),
    Loss("one node frozen, or its machine without power", 0.0, (15.0, 20.0), 3.5),
    Loss("a third of the nodes, without power", 1 / 3, (15.0, 20.0), 3.5),
)
"""A client of a dead machine gets no signal: it waits for the next heartbeat, fifteen seconds, and a little more."""
RETRY_SECONDS: Final = (0.5, 3.0)
"""How long clients wait before they reconnect: minimum and maximum."""
TAKE_OVER: Final = 2.0
"""A run that is taken over costs as much as so many short runs, and on average half of its answer again."""
STEP_SECONDS: Final = 0.05


@dataclass
class Recovery:
    lost_streams: int
    back_p50: float
    back_p99: float
    reconnects_max: int
    """Per second and node."""
    core_max: float
    """The load of the remaining nodes in the worst second; above 1 they are delayed."""
    late_seconds: float


def recovery(group: Outcome, costs: Costs, loss: Loss, load: float) -> Recovery:
    """`load`: the share of its core that a node used before."""
    dice = random.Random(7)
    gone = max(1, int(group.nodes * loss.lost))
    left = group.nodes - gone
    streams = int(group.streams * load / UTILIZATION_MAX)
    lost = gone * streams
    own = RATE * costs.node_delta_us * 1e-6 + RATE / TOKENS * costs.node_run_ms * 1e-3
    coming: dict[int, int] = {}
    for _ in range(lost):
        at = dice.uniform(*loss.noticed_seconds) + dice.uniform(*RETRY_SECONDS)
        coming[int(at / STEP_SECONDS)] = coming.get(int(at / STEP_SECONDS), 0) + 1
    waits: list[float] = []
    owed = work_max = late = 0.0
    a_second: list[float] = []
    claimed = False
    seconds = loss.noticed_seconds[1] + RETRY_SECONDS[1] + 30
    for step in range(int(seconds / STEP_SECONDS)):
        at = step * STEP_SECONDS
        work = streams * left * own * STEP_SECONDS
        if at >= loss.taken_over_seconds:
            if not claimed:
                claimed = True
                again = TAKE_OVER * costs.node_run_ms * 1e-3 + TOKENS / 2 * costs.node_delta_us * 1e-6
                owed += lost * again / left
            work += lost * own * STEP_SECONDS
        work = work / left + coming.get(step, 0) * costs.resume_node_ms * 1e-3 / left
        owed = max(0.0, owed + work - STEP_SECONDS)
        late += STEP_SECONDS if owed > LATENCY_P99_MAX else 0.0
        a_second = [*a_second[-19:], work]
        work_max = max(work_max, sum(a_second))
        # A client that reconnects now is served after the queued work, and once its run continues somewhere.
        waits += [max(at, loss.taken_over_seconds) + owed] * coming.get(step, 0)
    waits.sort()
    steps_of_a_second = int(1 / STEP_SECONDS)
    reconnects = max(
        sum(coming.get(step + more, 0) for more in range(steps_of_a_second))
        for step in range(int(seconds / STEP_SECONDS))
    )
    return Recovery(
        lost, waits[len(waits) // 2], waits[int(len(waits) * 0.99)], math.ceil(reconnects / left), work_max, late
    )


def lost_primary(group: Outcome, failover_seconds: float, load: float) -> tuple[float, float]:
    """(seconds from the loss until every stream is up to date again, MB that a node buffers meanwhile). Nodes and
    clients stay connected, and nothing is taken over; a run stops reading from its provider once it has buffered 256
    KiB."""
    streams = group.streams * load / UTILIZATION_MAX
    backlog = failover_seconds * load
    catch_up = backlog / (1 - load)
    characters = failover_seconds * RATE * 4
    return failover_seconds + catch_up, streams * characters / 1e6


def report(costs: Costs) -> None:
    print(f"costs of one core: {costs}")
    alone = streams_of_a_node(costs, 1)
    print(f"\none node, alone: {alone:,} streams of {RATE:.0f} tokens/s at {UTILIZATION_MAX:.0%} of its core\n")
    print(_row("", "nodes", "streams", "p50 ms", "p99 ms", "node", "db", "lock", "MB/s") + "  limit")
    groups: dict[Machine, Outcome] = {}
    for machine in (LOCAL, REPLICATED, WITHIN):
        groups[machine], beyond = largest(costs, machine)
        _print_group(machine.name, groups[machine], machine, "")
        _print_group("  a larger one", beyond, machine, "no more than before: notifications of other nodes")
    print(f"\n{WANTED:,} streams")
    for machine, group in groups.items():
        for part, writing in (("all of them writing", 1.0), ("one in ten writing", 0.1)):
            primaries = math.ceil(WANTED * writing / (group.nodes * group.streams))
            nodes = math.ceil(WANTED * writing / group.streams)
            each = WANTED / nodes
            print(
                f"{machine.name}; {part}: {primaries} primaries, {nodes:,} nodes; on each node {each:,.0f} connections"
                f" and {each * costs.node_memory_kb / 1000:,.0f} MB for them"
            )
    _print_failures(groups[LOCAL], costs)


def _row(name: str, *cells: object) -> str:
    return f"{name:<52}" + "".join(f"{cell!s:>9}" for cell in cells)


def _print_group(name: str, found: Outcome, machine: Machine, else_limit: str) -> None:
    cells = (
        found.nodes,
        f"{found.nodes * found.streams:,}",
        f"{found.latency_p50 * 1e3:.0f}",
        f"{found.latency_p99 * 1e3:.0f}",
        f"{found.node_core:.2f}",
        f"{found.database_cores:.1f}",
        f"{found.commit_queue:.2f}",
        f"{found.log_mb_s:.0f}",
    )
    print(f"{_row(name, *cells)}  {found.limit(machine) or else_limit}")


def _print_failures(group: Outcome, costs: Costs) -> None:
    print(f"\nwhat a failure costs a group of {group.nodes} nodes, seconds from the failure")
    print(_row("", "load", "streams", "back p50", "p99", "recon/s", "core max", "late s"))
    for loss in LOSSES:
        for load in (0.45, UTILIZATION_MAX):
            found = recovery(group, costs, loss, load)
            cells = (load, f"{found.lost_streams:,}", f"{found.back_p50:.1f}", f"{found.back_p99:.1f}")
            print(_row(loss.name, *cells, found.reconnects_max, f"{found.core_max:.2f}", f"{found.late_seconds:.1f}"))
    for failover in (5.0, 30.0):
        for load in (0.45, UTILIZATION_MAX):
            whole, memory = lost_primary(group, failover, load)
            streams = int(group.nodes * group.streams * load / UTILIZATION_MAX)
            print(
                f"{_row(f'the primary, {failover:.0f} s until a standby is promoted', load, f'{streams:,}')}"
                f"   all up to date after {whole:.0f} s; each node keeps {memory:,.1f} MB of text meanwhile"
            )


# --- measuring -------------------------------------------------------------------------------------------------------
def measure(tools: Path) -> Costs:
    """The costs on this machine, with node and database on a core each. Answers of ten and of four hundred tokens
    separate the cost of a run from that of a delta."""
    from bed import bed  # noqa: PLC0415 — starts nothing unless it is asked to

    with bed(tools) as running:
        dsn = dsn_of(running.database_pid)
        running.load("stoa", n=4, tokens=10, rate=50)
        found: dict[int, tuple[float, float, float]] = {}
        for tokens in (10, 400):
            before = asyncio.run(log_position(dsn))
            used = running.load("stoa", n=200, tokens=tokens, rate=50, turns=1, ramp=1.0)
            written = asyncio.run(log_position(dsn)) - before
            found[tokens] = (used["node_cpu_s"] / 200, used["database_cpu_s"] / 200, written / 200)
        commits = asyncio.run(commit_rates(dsn))
    runs, deltas = zip(*(_apart(few, many) for few, many in zip(found[10], found[400], strict=True)), strict=True)
    for name, rates in commits.items():
        print(f"commits a second, {name}: " + ", ".join(f"{clients} at once {rate:,.0f}" for clients, rate in rates))
    return Costs(
        node_run_ms=round(runs[0] * 1e3, 2),
        node_delta_us=round(deltas[0] * 1e6, 1),
        database_run_ms=round(runs[1] * 1e3, 2),
        database_delta_us=round(deltas[1] * 1e6, 1),
        log_run_bytes=round(runs[2]),
        log_delta_bytes=round(deltas[2]),
        foreign_id_us=round(foreign_id_us(), 3),
    )


def _apart(few: float, many: float) -> tuple[float, float]:
    delta = (many - few) / 390
    return few - 10 * delta, delta


def dsn_of(database_pid: int) -> str:
    record = (Path(f"/proc/{database_pid}/cwd").resolve() / "postmaster.pid").read_text().splitlines()
    return f"postgresql://{ROLE}@/stoa?host={record[4]}&port={record[3]}"


async def log_position(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))
    finally:
        await connection.close()


COMMITS: Final = {
    "that store and notify": "INSERT INTO bench_scale SELECT 1 FROM pg_notify('bench_scale', 'x')",
    "that store": "INSERT INTO bench_scale SELECT 1",
    "that notify alone, synchronous_commit = off": "SELECT pg_notify('bench_scale', 'x')",
}


async def commit_rates(dsn: str) -> dict[str, list[tuple[int, float]]]:
    """Small transactions on many connections at once, while somebody listens."""
    listening = await asyncpg.connect(dsn)
    await listening.add_listener("bench_scale", lambda *_: None)
    await listening.execute("CREATE TABLE bench_scale (n int)")
    found: dict[str, list[tuple[int, float]]] = {}
    for name, statement in COMMITS.items():
        for clients in (1, 16):
            end = time.monotonic() + 3
            done = await asyncio.gather(*(_commits(dsn, statement, end) for _ in range(clients)))
            found.setdefault(name, []).append((clients, sum(done) / 3))
    await listening.execute("DROP TABLE bench_scale")
    await listening.close()
    return found


async def _commits(dsn: str, statement: str, end: float) -> int:
    count, connection = 0, await asyncpg.connect(dsn)
    try:
        await connection.execute(f"SET synchronous_commit = {'off' if 'INSERT' not in statement else 'on'}")
        while time.monotonic() < end:
            await connection.execute(statement)
            count += 1
    finally:
        await connection.close()
    return count


def foreign_id_us() -> float:
    """For a notification that names as many runs as possible, none of which is followed here."""
    live = LiveBuffer()
    journal = Journal(cast("Any", None), JournalWriter("", live, SystemClock()), live)
    (payload,) = joined([uuid4().hex for _ in range(246)])
    rounds = 2_000
    begun = time.process_time()
    for _ in range(rounds):
        journal.on_notification(payload, 1)
    return (time.process_time() - begun) / rounds / (len(payload) // 32) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--tools", type=Path, default=Path("../shared/bench"))
    options = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}")
    report(measure(options.tools) if options.measure else Costs())


if __name__ == "__main__":
    main()
