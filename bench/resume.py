#!/usr/bin/env python3
"""Resuming: the time to the first replayed byte of a long run, and to the end of the replay.

    python bench/resume.py --tools ../shared/bench [--quick]

Creates a run through the API until its journal has 10,000 events; then readers connect: from the start, from the
middle, near the end. For comparison it measures `GET /health` on the same connection, an answer without any work.
Budgets (design.md section 7): 10 ms and 200 ms.
"""

import argparse
import http.client
import os
import statistics
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from bed import KEY, OTHER_CORE, Bed, bed, machine

EVENTS = 10_000


def long_run(running: Bed, events: int) -> tuple[str, int]:
    """A run of at least so many events: its tokens are slow enough that two rarely share a tick."""
    tokens = events + events // 10
    while True:
        text = f"[[stub n={tokens} rate=1000 ttft=0.05]]"
        sent = running.call(
            "POST", f"/v3/conversations/{running.conversation()}/messages", {"content": text, "stream": False}
        )
        made = running.call("GET", f"/v1/runs/{sent['data']['id']}/events?page_size=1")["pagination"]["total_count"]
        if made >= events:
            return sent["data"]["id"], made
        tokens = tokens * events // max(1, made) + events // 10


def timed(connection: http.client.HTTPConnection, path: str) -> tuple[float, float, int]:
    """(ms to the first byte of the body, ms to the last, bytes)."""
    begun = time.perf_counter()
    connection.request("GET", path, headers={"Authorization": f"Bearer {KEY}"})
    response = connection.getresponse()
    size = len(response.read(1))
    first = time.perf_counter()
    while piece := response.read1(1 << 20):
        size += len(piece)
    response.read()  # Nothing is left, but only this frees the connection.
    return (first - begun) * 1000, (time.perf_counter() - begun) * 1000, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--quick", action="store_true", help="5 readers of each kind instead of 50")
    options = parser.parse_args()
    times = 5 if options.quick else 50
    with bed(options.tools) as running:
        if sys.platform == "linux":
            os.sched_setaffinity(0, {OTHER_CORE})
        run_id, events = long_run(running, EVENTS)
        print(f"{machine()}; {events} events; medians of {times}, ms")
        host = urlsplit(running.url)
        connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=60)
        stream = f"/v1/runs/{run_id}/stream"
        kinds = {
            "health": "/health",
            "start": stream,
            "middle": f"{stream}?after_sequence={events // 2}",
            "end": f"{stream}?after_sequence={events - 1}",
        }
        for name, path in kinds.items():
            found = [timed(connection, path) for _ in range(times)]
            first, whole = sorted(one[0] for one in found), sorted(one[1] for one in found)
            print(
                f"{name:<8} first byte p50 {statistics.median(first):7.2f}  worst {first[-1]:7.2f}   whole p50 "
                f"{statistics.median(whole):7.2f}"
                f"  worst {whole[-1]:7.2f}   {found[0][2] / 1e6:6.2f} MB"
            )


if __name__ == "__main__":
    main()
