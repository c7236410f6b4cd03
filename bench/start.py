#!/usr/bin/env python3
"""How soon a server answers, and how much memory it uses when idle.

    python bench/start.py [--quick]

`first` starts on an empty directory: initdb, schema, first key. `warm` starts on the result of the first start. Both
are the time from the process's start to its ready line, on one core, with the CPU seconds of the node alone; `import`
is the server's import, minus the interpreter's own start. Budgets (design.md section 7): first 3 s, warm 1 s, import
0.7 s, idle node 150 MB.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bed import NODE_CORE, machine, move_database, on_core, proportional_mb, serving


def started(data_dir: Path) -> tuple[float, float, float, float]:
    """(seconds to ready, CPU seconds of the node until then, MB of the node, MB of its database when idle)."""
    begun = time.monotonic()
    with serving(data_dir) as (server, _):
        seconds, cpu = time.monotonic() - begun, cpu_seconds(server.pid)
        time.sleep(2)
        postmaster = move_database(data_dir)
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        database = proportional_mb(postmaster) + sum(proportional_mb(int(child)) for child in children)
        return seconds, cpu, proportional_mb(server.pid), database


def cpu_seconds(pid: int) -> float:
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])) / 100


def imported(statement: str) -> tuple[float, float]:
    """(seconds, CPU seconds) of an interpreter that runs this."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(on_core(NODE_CORE, [sys.executable, "-c", statement]), check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - begun, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one start of each kind instead of five")
    options = parser.parse_args()
    times = 1 if options.quick else 5
    print(f"{machine()}; medians of {times}")
    first, warm = [], []
    for _ in range(times):
        with tempfile.TemporaryDirectory(prefix="stoa-bench-") as home:
            Path(home).chmod(0o755)
            first.append(started(Path(home) / "data"))
            warm.append(started(Path(home) / "data"))
    for name, found in (("first", first), ("warm", warm)):
        seconds, cpu, node, database = (statistics.median(column) for column in zip(*found, strict=True))
        print(
            f"{name:<8}{seconds:6.2f} s to ready, {cpu:5.2f} s CPU of the node; idle: node {node:4.0f} MB, database "
            f"{database:4.0f} MB"
        )
    bare = [imported("pass") for _ in range(times)]
    whole = [imported("import stoa.app, stoa.cli.serve") for _ in range(times)]
    seconds, cpu = (
        statistics.median(column) - statistics.median(base)
        for column, base in zip(zip(*whole, strict=True), zip(*bare, strict=True), strict=True)
    )
    print(f"{'import':<8}{seconds:6.2f} s, {cpu:5.2f} s CPU")


if __name__ == "__main__":
    main()
