#!/usr/bin/env python3
"""Streams compared with the direct call: what a durable stream costs.

    python bench/streams.py --tools ../shared/bench [--quick] [--streams 1,100,1000]

The stub model, the load generator and the database run on one core, `stoa serve` on the other. It prints the added time
to the first event, the event latency, the CPU per 1,000 deltas of the node and of its database, and how many streams of
50 tokens/s keep up (stretch ≤ 1.05, nothing lost). Every figure is compared with the direct call to the stub in the
same run. `late` is how far the stub itself fell behind: it shows whether the core that it shares with client and
database was a bottleneck.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

from bed import bed, machine

COLUMNS = {
    "streams": "n",
    "ok": "ok",
    "stretch": "stretch",
    "ttfe p50": "first_event_overhead_ms.p50",
    "ttfe p99": "first_event_overhead_ms.p99",
    "lat p50": "event_latency_ms.p50",
    "lat p99": "event_latency_ms.p99",
    "node cpu": "server_cpu_share",
    "node/1k": "node_ms_per_1k",
    "db/1k": "database_ms_per_1k",
    "MB": "server_rss_mb",
    "lost": "gap",
    "client": "client_cpu_share",
    "late": "stub_late_ms_max",
}


def line(name: str, found: dict[str, Any]) -> str:
    def get(path: str) -> object:
        value: object = found
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return "-" if value is None else value

    return f"{name:<8}" + "".join(f"{get(path)!s:>9}" for path in COLUMNS.values())


def with_costs(found: dict[str, Any]) -> dict[str, Any]:
    for part in ("node", "database"):
        found[f"{part}_ms_per_1k"] = round(found[f"{part}_cpu_s"] * 1e6 / max(1, found["events"]), 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--quick", action="store_true", help="one run of each instead of three")
    parser.add_argument("--streams", default="1,50,100,200,400,600,800,1000")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument(
        "--workers", type=int, default=0, help="the server in so many processes; nothing is tied to a core (1 too)"
    )
    options = parser.parse_args()
    print(f"{machine()}; times in ms; cpu in cores")
    print(f"{'':<8}" + "".join(f"{name:>9}" for name in COLUMNS), flush=True)
    runs = 1 if options.quick else 3
    with bed(options.tools, workers=options.workers) as running:
        running.load(
            "stoa", n=4, tokens=10, rate=50
        )  # Prepares statements and fills caches, like a server that has run for a second.
        for count in map(int, options.streams.split(",")):
            turns = 1 if count > 1 else 3 if options.quick else 20
            common = {"n": count, "tokens": options.tokens, "rate": 50, "turns": turns, "ramp": max(0.5, count / 250)}
            measured: dict[str, list[dict[str, Any]]] = {}
            for name in ("direct", "stoa"):
                measured[name] = [with_costs(running.load(name, **common)) for _ in range(runs)]
                median = statistics.median(run["stretch"] for run in measured[name])
                print(line(name, next(run for run in measured[name] if run["stretch"] == median)), flush=True)
            if any(run["ok"] != run["runs"] or run["stretch"] > 1.05 for run in measured["stoa"]):
                break


if __name__ == "__main__":
    main()
