#!/usr/bin/env python3
"""The AI gateway beside the direct call: what a call costs that is authenticated, routed, relayed and billed.

    python bench/gateway.py --tools ../shared/bench [--quick] [--soak MINUTES] [--litellm]

Answers of ten tokens that are not streamed, in a closed loop; then streams of 50 tokens/s. Every call is a line of the
bill, committed before its answer ends. The stub model, the load generator and the database run on one core, and
`stoa serve` on the other. `per core` is 1000 / node ms: calls per second of a core that does nothing else. Every figure
stands beside the direct call to the stub in the same run. `--litellm` installs LiteLLM's proxy into a temporary
directory and measures it on the same core, without a database. `--soak` repeats both kinds of load and prints the
memory of the server.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Generator
from pathlib import Path
from typing import Any

from bed import NODE_CORE, Bed, bed, free_port, machine, on_core, proportional_mb, wait_for

MODEL = "openai/stub"
CALLS = {
    "clients": "conc",
    "calls": "requests",
    "calls/s": "rps",
    "p50 ms": "latency_ms.p50",
    "p99 ms": "latency_ms.p99",
    "+p50": "added_p50",
    "+p99": "added_p99",
    "errors": "failed",
    "node ms": "node_ms",
    "db ms": "database_ms",
    "node cpu": "server_cpu_share",
    "client": "client_cpu_share",
    "per core": "per_core",
}
STREAMS = {
    "streams": "n",
    "ok": "ok",
    "stretch": "stretch",
    "ttfe p50": "first_event_overhead_ms.p50",
    "ttfe p99": "first_event_overhead_ms.p99",
    "lat p50": "event_latency_ms.p50",
    "lat p99": "event_latency_ms.p99",
    "lost": "gap",
    "node/1k": "node_per_1k",
    "db/1k": "database_per_1k",
    "node cpu": "server_cpu_share",
    "MB": "server_rss_mb",
    "client": "client_cpu_share",
    "late": "stub_late_ms_max",
}


def value(found: dict[str, Any], path: str) -> Any:
    held: Any = found
    for part in path.split("."):
        held = held.get(part) if isinstance(held, dict) else None
    return held


def show(name: str, columns: dict[str, str], found: dict[str, Any]) -> None:
    cells = (value(found, path) for path in columns.values())
    print(f"{name:<9}" + "".join(f"{'-' if cell is None else cell!s:>10}" for cell in cells), flush=True)


def heading(columns: dict[str, str]) -> None:
    print(f"\n{'':<9}" + "".join(f"{name:>10}" for name in columns), flush=True)


Peer = tuple[str, str, tuple[str, int] | None]
"""Name in the table, target of the load generator, and address and process if it is neither ours nor the stub."""


def calls(running: Bed, peers: list[Peer], clients: str, *, seconds: int, runs: int) -> None:
    heading(CALLS)
    for count in map(int, clients.split(",")):
        direct: dict[str, Any] = {}
        for name, target, peer in peers:
            model = MODEL if target.startswith("stoa") else "stub"
            load = {"conc": count, "duration": seconds, "tokens": 10, "ttft": 0, "model": model, "peer": peer}
            found = [running.load(target, mode="rps", **load) for _ in range(runs)]
            median = statistics.median_low(run["rps"] for run in found)
            shown = next(run for run in found if run["rps"] == median)
            direct = direct or shown
            node = shown["node_cpu_s"] * 1000 / max(1, shown["requests"])
            shown |= {
                "node_ms": round(node, 3),
                "database_ms": round(shown["database_cpu_s"] * 1000 / max(1, shown["requests"]), 3),
                "failed": sum(shown["errors"].values()),
                "per_core": round(1000 / node) if node else None,
            }
            for quantile in ("p50", "p99"):
                path = f"latency_ms.{quantile}"
                shown[f"added_{quantile}"] = round(value(shown, path) - value(direct, path), 2)
            show(name, CALLS, shown)


def streams(running: Bed, peers: list[Peer], counts: str, *, tokens: int, runs: int) -> None:
    heading(STREAMS)
    behind: set[str] = set()
    for count in map(int, counts.split(",")):
        for name, target, peer in peers:
            if name in behind:
                continue
            model = MODEL if target.startswith("stoa") else "stub"
            load = {
                "n": count,
                "tokens": tokens,
                "rate": 50,
                "ramp": max(0.5, count / 250),
                "model": model,
                "peer": peer,
            }
            found = [running.load(target, **load) for _ in range(runs)]
            median = statistics.median_low(run["stretch"] for run in found)
            shown = next(run for run in found if run["stretch"] == median)
            for part in ("node", "database"):
                shown[f"{part}_per_1k"] = round(shown[f"{part}_cpu_s"] * 1e6 / max(1, shown["events"]), 1)
            show(name, STREAMS, shown)
            if shown["ok"] != shown["runs"] or shown["stretch"] > 1.05:
                behind.add(name)


def soak(running: Bed, minutes: float) -> None:
    """Memory after each round of calls and of streams. It is flat if the last third is not above the first."""
    print(f"\nsoak of {minutes:g} minutes: MB of the server after each round")
    until, seen = time.monotonic() + minutes * 60, list[float]()
    total = 0
    while time.monotonic() < until:
        done = running.load("stoa-gateway", mode="rps", model=MODEL, conc=32, duration=10, tokens=10, ttft=0)
        running.load("stoa-gateway", model=MODEL, n=100, tokens=100, rate=50, ramp=0.5)
        total += done["requests"]
        seen.append(round(proportional_mb(running.node_pid), 1))
        print(seen[-1], end=" ", flush=True)
    third = max(1, len(seen) // 3)
    first, last = statistics.median(seen[:third]), statistics.median(seen[-third:])
    print(
        f"\n{total} calls, {100 * len(seen)} streams: median MB of the first third {first:.1f}, of the last {last:.1f}"
    )


@contextlib.contextmanager
def litellm(stub_url: str) -> Generator[tuple[str, int]]:
    """LiteLLM's proxy, installed for this run; its address and process."""
    with tempfile.TemporaryDirectory(prefix="litellm-") as home:
        room = Path(home)
        venv.create(room / "venv", with_pip=True)
        python = str(room / "venv" / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "-q", "litellm[proxy]", "uvloop"], check=True)
        model = {"model": "openai/stub", "api_base": stub_url + "/v1", "api_key": "x"}
        config = {"model_list": [{"model_name": "stub", "litellm_params": model}]}
        (room / "config.yaml").write_text(json.dumps(config))
        port = free_port()
        command = [str(room / "venv" / "bin" / "litellm"), "--config", str(room / "config.yaml"), "--port", str(port)]
        command += ["--host", "127.0.0.1", "--num_workers", "1", "--telemetry", "False"]
        environment = {**os.environ, "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        with (room / "log").open("wb") as log:
            proxy = subprocess.Popen(on_core(NODE_CORE, command), stdout=log, stderr=log, env=environment)
        try:
            wait_for(f"http://127.0.0.1:{port}/health/liveliness", seconds=120)
            yield f"http://127.0.0.1:{port}", proxy.pid
        finally:
            proxy.terminate()
            proxy.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--quick", action="store_true", help="one run of each instead of three")
    parser.add_argument("--clients", default="1,16,64")
    parser.add_argument("--streams", default="1,100,400,1000", help="empty: none")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--soak", type=float, default=0, metavar="MINUTES")
    parser.add_argument("--litellm", action="store_true", help="beside LiteLLM's proxy, installed for this run")
    options = parser.parse_args()
    runs, seconds = (1, 5) if options.quick else (3, 10)
    print(f"{machine()}; calls of ten tokens; `per core` is 1000 / node ms; times in ms, cpu in cores")
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(bed(options.tools))
        peers: list[Peer] = [("direct", "direct", None), ("stoa", "stoa-gateway", None)]
        if options.litellm:
            peers.append(("litellm", "litellm", stack.enter_context(litellm(running.stub_url))))
        running.load("stoa-gateway", mode="rps", model=MODEL, conc=4, duration=2, tokens=10, ttft=0)
        if options.clients:
            calls(running, peers, options.clients, seconds=seconds, runs=runs)
        if options.streams:
            streams(running, peers, options.streams, tokens=options.tokens, runs=runs)
        if options.soak:
            soak(running, options.soak)


if __name__ == "__main__":
    sys.exit(main())
