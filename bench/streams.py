#!/usr/bin/env python3
"""Streams beside the direct call: what a durable stream costs.

    python bench/streams.py --tools ../shared/bench [--quick]

Starts the stub model and the load generator of --tools on one core and `stoa serve` on the other (its embedded database beside the stub),
and prints: added time to first event, event latency, CPU per 1,000 deltas, and the largest number of streams of 50 tokens/s that keeps up
(stretch ≤ 1.05, no token lost or repeated). Every figure stands beside the direct call to the stub in the same run.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

KEY = "stoa_acc_" + "b" * 64
STUB = "http://127.0.0.1:9100"


def on_core(core: int, command: list[str]) -> list[str]:
    return ["taskset", "-c", str(core), *command] if sys.platform == "linux" else command


def start_stub(tools: Path) -> subprocess.Popen[bytes]:
    stub = subprocess.Popen(on_core(1, [sys.executable, str(tools / "stubllm.py"), "--port", "9100"]), stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            urlopen(STUB + "/health", timeout=1).close()
            return stub
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the stub did not start")


def start_stoa(home: Path) -> tuple[subprocess.Popen[str], str]:
    environment = {**os.environ, "STOA_BOOTSTRAP_KEY": KEY, "OPENAI_API_KEY": "x", "OPENAI_BASE_URL": STUB + "/v1", "STOA_LOG_LEVEL": "warning"}
    command = on_core(0, [sys.executable, "-m", "stoa", "serve", "--port", "0", "--data-dir", str(home)])
    server = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith("Stoa is ready at "):
            move_database(home)
            return server, line.split()[4]
    raise SystemExit("the server did not start")


def move_database(home: Path) -> None:
    """The database was started by the server and is bound to its core: it goes beside the stub, as a machine of its own would be."""
    if sys.platform != "linux":
        return
    for found in home.rglob("postmaster.pid"):
        pid = int(found.read_text().splitlines()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in [str(pid), *children]:
            subprocess.run(["taskset", "-cp", "1", process], stdout=subprocess.DEVNULL, check=False)


def measure(tools: Path, target: str, url: str, server_pid: int, **options: object) -> dict[str, object]:
    arguments = [item for name, value in options.items() for item in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, str(tools / "loadgen.py"), target, "--url", url, "--server-pid", str(server_pid), *arguments]
    if target == "stoa":
        command += ["--opt", f"key={KEY}"]
    done = subprocess.run(on_core(1, command), capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def line(name: str, found: dict[str, object]) -> str:
    def get(path: str) -> object:
        value: object = found
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return "-" if value is None else value

    columns = ("n", "ok", "stretch", "first_event_overhead_ms.p50", "first_event_overhead_ms.p99", "event_latency_ms.p50", "event_latency_ms.p99",
               "server_cpu_share", "server_cpu_ms_per_1k_events", "server_rss_mb", "dup", "gap", "client_cpu_share", "stub_late_ms_max")  # fmt: skip
    return f"{name:<8}" + "".join(f"{get(column)!s:>10}" for column in columns)


HEAD = f"{'':<8}" + "".join(
    f"{name:>10}"
    for name in ("streams", "ok", "stretch", "ttfe p50", "ttfe p99", "lat p50", "lat p99", "cpu", "ms/1k ev", "PSS MB", "repeated", "lost", "client", "stub late")
)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--quick", action="store_true", help="one run of each instead of three")
    parser.add_argument("--streams", default="1,50,100,200,400,600,800,1000")
    options = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}; times in ms; cpu in cores")
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as home:
        Path(home).chmod(0o755)
        stub = start_stub(options.tools)
        server, url = start_stoa(Path(home) / "data")
        try:
            for count in map(int, options.streams.split(",")):
                runs = 1 if options.quick else 3
                turns = 1 if count > 1 else 3 if options.quick else 20
                common = {"n": count, "tokens": 200, "rate": 50, "turns": turns, "ramp": max(0.5, count / 250)}
                direct = [measure(options.tools, "direct", STUB, stub.pid, **common) for _ in range(runs)]
                through = [measure(options.tools, "stoa", url, server.pid, **common) for _ in range(runs)]
                for name, found in (("direct", direct), ("stoa", through)):
                    median = statistics.median(run["stretch"] for run in found)
                    print(line(name, next(run for run in found if run["stretch"] == median)), flush=True)
                if any(run["ok"] != run["runs"] or run["stretch"] > 1.05 for run in through):
                    break
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
            stub.kill()
            stub.wait()


if __name__ == "__main__":
    asyncio.run(main())
