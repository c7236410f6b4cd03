#!/usr/bin/env python3
"""Short runs: how many answers of ten tokens one core of server completes per second, all of them durable.

    python bench/runs.py --tools ../shared/bench [--quick]

A closed loop of clients: each has a conversation of its own, sends a message, waits for the finished run, and sends the
next. The stub model answers at once. The database runs on the other core, with stub and client; its CPU is counted
separately. `direct` is the same load on the stub.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

from bed import bed, machine

COLUMNS = {
    "clients": "conc",
    "runs": "requests",
    "runs/s": "rps",
    "p50 ms": "latency_ms.p50",
    "p99 ms": "latency_ms.p99",
    "errors": "failed",
    "node ms": "node_ms",
    "db ms": "database_ms",
    "node cpu": "server_cpu_share",
    "client": "client_cpu_share",
    "per core": "per_core",
}


def line(name: str, found: dict[str, Any]) -> str:
    def get(path: str) -> object:
        value: object = found
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return "-" if value is None else value

    return f"{name:<8}" + "".join(f"{get(path)!s:>10}" for path in COLUMNS.values())


def with_costs(found: dict[str, Any]) -> dict[str, Any]:
    done = max(1, found["requests"])
    node = found["node_cpu_s"] * 1000 / done
    found |= {
        "node_ms": round(node, 2),
        "database_ms": round(found["database_cpu_s"] * 1000 / done, 2),
        "failed": sum(found["errors"].values()),
    }
    return found | {"per_core": round(1000 / node) if node else None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--quick", action="store_true", help="one run of each instead of three")
    parser.add_argument("--clients", default="1,16,64")
    parser.add_argument(
        "--workers", type=int, default=0, help="the server in so many processes; nothing is tied to a core (1 too)"
    )
    options = parser.parse_args()
    runs, seconds = (1, 6) if options.quick else (3, 10)
    print(f"{machine()}; ten tokens a run; `per core` is 1000 / node ms")
    print(f"{'':<8}" + "".join(f"{name:>10}" for name in COLUMNS), flush=True)
    with bed(options.tools, workers=options.workers) as running:
        running.load("stoa", mode="rps", conc=4, duration=2, tokens=10, ttft=0)
        for clients in map(int, options.clients.split(",")):
            common = {"conc": clients, "duration": seconds, "tokens": 10, "ttft": 0}
            for name in ("direct", "stoa"):
                found = [with_costs(running.load(name, mode="rps", **common)) for _ in range(runs)]
                median = statistics.median_low(run["rps"] for run in found)
                print(line(name, next(run for run in found if run["rps"] == median)), flush=True)


if __name__ == "__main__":
    main()
