#!/usr/bin/env python3
"""How soon the first event comes: back to back, after pauses, and in the first requests of a server.

    python bench/cold.py --tools ../shared/bench [--quick]

One client sends a message, reads the stream to its end, waits, and sends the next. Each request to the server is
followed by the same one to the stub, so both meet the machine in the same state. Printed are milliseconds from the
request to the first piece of text, of both, and the difference at p50. `idle` is a server that nobody asks anything:
its CPU, and how often it wakes, for the node and for its database.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from bed import KEY, Bed, bed, machine

FIRST = 10
"""How many requests count as a server's first ones."""
SCRIPT = "[[stub n=3 rate=0 ttft=0]]"
TEXT = b"@"
"""Each piece of the stub contains a timestamp between these characters, which occur nowhere else in a stream."""


class Client:
    """One kept-alive connection, as of an application's backend."""

    def __init__(self, url: str, path: str, body: object) -> None:
        parts = urlsplit(url)
        self._connection = HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        self._path = path
        self._body = json.dumps(body)

    def first_text_ms(self) -> float:
        """Asks once, and reads the answer to its end."""
        begun = time.perf_counter()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        self._connection.request("POST", self._path, self._body, headers)
        response = self._connection.getresponse()
        if response.status != 200:
            raise SystemExit(response.read().decode())
        found = 0.0
        while piece := response.read1(65536):
            if not found and TEXT in piece:
                found = (time.perf_counter() - begun) * 1000
        return found


def clients(running: Bed) -> tuple[Client, Client]:
    """Of the server and of the stub."""
    content = [{"type": "text", "text": SCRIPT}]
    chat = {"model": "stub", "stream": True, "messages": [{"role": "user", "content": SCRIPT}]}
    ours = Client(running.url, f"/v3/conversations/{running.conversation()}/messages", {"content": content})
    return ours, Client(running.stub_url, "/v1/chat/completions", chat)


def ask(running: Bed, times: int, pause: float) -> tuple[Sequence[float], Sequence[float]]:
    ours, direct = clients(running)
    pairs: list[tuple[float, float]] = []
    for _ in range(times):
        time.sleep(pause)
        mine = ours.first_text_ms()
        time.sleep(pause)
        pairs.append((mine, direct.first_text_ms()))
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def line(name: str, ours: Sequence[float], direct: Sequence[float]) -> None:
    def points(values: Sequence[float]) -> str:
        ranked = sorted(values)
        return f"{statistics.median(ranked):8.2f}{ranked[int(len(ranked) * 0.9)]:8.2f}{ranked[-1]:8.2f}"

    added = statistics.median(ours) - statistics.median(direct)
    print(f"{name:<14}{len(ours):>4}{points(ours)}  |{points(direct)}  |{added:8.2f}", flush=True)


def used(pids: Sequence[int]) -> tuple[float, int]:
    """(CPU seconds, voluntary context switches: how often its threads went to sleep)."""
    seconds, switches = 0.0, 0
    for pid in pids:
        seconds += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])) / 100
        for task in Path(f"/proc/{pid}/task").iterdir():
            found = (task / "status").read_text().partition("\nvoluntary_ctxt_switches:")[2]
            switches += int(found.split()[0])
    return seconds, switches


def idle(running: Bed, seconds: float) -> None:
    postmaster = running.database_pid
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    for name, pids in (("node", [running.node_pid]), ("database", [postmaster, *map(int, children)])):
        before = used(pids)
        time.sleep(seconds)
        after = used(pids)
        cpu, wakes = (after[0] - before[0]) / seconds * 100, (after[1] - before[1]) / seconds
        print(f"idle {name:<9} {cpu:5.2f} % CPU, wakes {wakes:5.1f} times a second", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--quick", action="store_true", help="a third of the requests")
    options = parser.parse_args()
    part = 3 if options.quick else 1
    print(f"{machine()}; ms from the request to the first text")
    print(f"{'':<14}{'n':>4}{'p50':>8}{'p90':>8}{'max':>8}  |{'p50':>8}{'p90':>8}{'max':>8}  |{'added':>8}")
    print(f"{'':<18}{'stoa':>24}  |{'direct':>24}  |{'p50':>8}")
    first: tuple[list[float], list[float]] = ([], [])
    for start in range(6 // part):
        with bed(options.tools) as running:
            for kept, found in zip(first, ask(running, FIRST, 0.0), strict=True):
                kept += found
            if start:
                continue
            ask(running, 50, 0.0)
            idle(running, 30 / part)
            for pause, times in ((0.0, 300), (0.3, 60), (3.0, 15)):
                ours, direct = ask(running, times // part, pause)
                line(f"pause {pause} s", ours, direct)
    line(f"first {FIRST}", *first)


if __name__ == "__main__":
    main()
