"""The test run as a whole: one directory for it, work spread over workers, no process left behind, time by directory.

`make test` starts three workers for two cores (pytest-xdist), as a third of what tests take is waiting. Each worker has
a PostgreSQL of its own (the `cluster` fixture), in its own directory under the run's. A plain `pytest tests/…` runs in
one process and uses the same code.
"""

import contextlib
import gc
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

VARIABLE = "TESTS_ROOM"  # Names the run's directory in the environment of every process that the run starts.
WORKERS_MAX = 8  # Each has a PostgreSQL and at times four nodes; beyond this, memory decides, not cores.
LEFTOVER_SECONDS_MAX = 10.0

GARBAGE = (5_000, 10, 10)
"""When the garbage collector runs. A server in process makes 150,000 objects that stay: with Python's own (700, 10, 10)
the collector went through all of them three times for each, an eighth of such a test's CPU."""

SECONDS = {
    "tests/http/test_openapi.py": 5.0,  # Every bound of every field.
    "tests/http/test_refusals.py": 0.03,
    "tests/http/test_event_loop.py": 5.0,
    "tests/http/test_field_tools.py": 0.15,
    "tests/http/test_isolation_matrix.py": 28.0,
    "tests/http/test_knowledge_faults.py": 3.5,
    "tests/http/test_ocr.py": 2.5,
    "tests/http/test_responses.py": 1.5,
    "tests/http/test_sources.py": 1.0,
    "tests/crash/": 12.0,
    "tests/e2e/test_accessible.py": 12.0,
    "tests/e2e/": 4.0,
    "tests/cluster/": 3.5,
    "tests/attack/test_outbound.py": 0.25,
    "tests/attack/": 2.0,
    "tests/docs/test_readme.py": 0.25,
    "tests/docs/": 5.0,
    "tests/console/test_documentation.py": 0.02,
    "tests/ports/test_embedder.py": 2.0,
    "tests/ports/test_provider_wires.py": 0.02,
    "tests/slice/db/": 2.0,
    "tests/slice/doctor/": 0.8,
    "tests/slice/": 0.5,
    "tests/http/": 0.3,
    "tests/unit/": 0.05,
}
"""The rough duration of a test, by its directory or module. It only decides what starts first."""
SECONDS_ELSEWHERE = 0.2
# Tests here mostly wait (for processes, browsers, timeouts): another one works meanwhile.
WAITING = ("tests/crash/", "tests/cluster/", "tests/docs/", "tests/e2e/", "tests/attack/", "tests/clients/")
# Tests here share only the session's fixtures: each may run on any worker.
APART = ("tests/crash/", "tests/docs/", "tests/e2e/")
# Tests here share an expensive fixture of their package.
TOGETHER = ("tests/cluster/",)

_room = pytest.StashKey[Path]()
_leftovers = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    # Where Python cannot cache bytecode, each process that a test starts spends half a second on compiling.
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # Nearly everything that is allocated during collection stays: garbage collection would be a tenth of it.
    gc.disable()
    given: dict[str, Any] | None = getattr(config, "workerinput", None)
    if given is not None:
        config.stash[_room] = Path(given["room"]) / given["workerid"]
        config.stash[_room].mkdir()
        return
    memory = Path("/dev/shm")
    room = Path(tempfile.mkdtemp(prefix="stoa-test-", dir=memory if memory.is_dir() else None))
    room.chmod(0o755)
    config.stash[_room] = room
    os.environ[VARIABLE] = str(room)


def pytest_collection_finish() -> None:
    """Everything allocated so far stays for the whole run: the garbage collector need not scan two million objects
    repeatedly, which would be a tenth of the time of in-process tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    gc.enable()


@pytest.fixture(scope="session")
def room(request: pytest.FixtureRequest) -> Path:
    """This worker's directory, which the run removes at its end. Any user may enter it (the database does not run as
    root)."""
    return request.config.stash[_room]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["room"] = str(node.config.stash[_room])


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return min((3 * cores() + 1) // 2, WORKERS_MAX)


def cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The cores that this process may use: its affinity, limited by its control group's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        share, period = quota.read_text().split()
        allowed = min(allowed, round(int(share) / int(period)))
    return max(1, allowed)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 — a plain run needs no xdist

    class Spread(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

    return Spread(config, log) if config.getoption("dist") == "loadscope" else None


def scope_of(nodeid: str) -> str:
    """Tests of one scope run in one worker, in order: those of a module, except as the tables above say."""
    for folder in TOGETHER:
        if nodeid.startswith(folder):
            return folder
    return nodeid if nodeid.startswith(APART) else nodeid.split("::", 1)[0]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A worker takes the next scope of this order whenever it is free. A plain run keeps pytest's order."""
    if not hasattr(config, "workerinput"):
        return
    scopes: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        scopes[scope_of(item.nodeid)].append(item)
    items[:] = [item for scope in woven({name: len(found) for name, found in scopes.items()}) for item in scopes[scope]]


def woven(scopes: Mapping[str, int]) -> list[str]:
    """The order in which scopes start, given the number of tests in each: long ones first, so that none runs alone at
    the end; waiting ones are spread evenly among working ones, so that the cores stay busy."""

    def seconds(scope: str) -> float:
        one = next((taken for folder, taken in SECONDS.items() if scope.startswith(folder)), SECONDS_ELSEWHERE)
        return one * scopes[scope]

    longest_first = sorted(scopes, key=lambda scope: (-seconds(scope), scope))
    queues = [
        [scope for scope in longest_first if scope.startswith(WAITING)],
        [scope for scope in longest_first if not scope.startswith(WAITING)],
    ]
    totals = [sum(map(seconds, queue)) for queue in queues]
    order: list[str] = []
    started = [0.0, 0.0]
    while any(queues):
        behind = min(
            (number for number in (0, 1) if queues[number]), key=lambda number: started[number] / totals[number]
        )
        order.append(queues[behind].pop(0))
        started[behind] += seconds(order[-1])
    return order


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Runs after every worker has exited. A remaining process was forgotten by a test, which is a failure."""
    if hasattr(session.config, "workerinput"):
        return
    room = session.config.stash[_room]
    left = _started_by(room)
    ends_at = time.monotonic() + LEFTOVER_SECONDS_MAX
    while left and time.monotonic() < ends_at:
        psutil.wait_procs(left, timeout=0.2)
        left = _started_by(room)
    session.config.stash[_leftovers] = [_described(process) for process in left]
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=5)
    shutil.rmtree(room, ignore_errors=True)
    if left and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _started_by(room: Path) -> list[psutil.Process]:
    """Processes with the run's mark in their environment, or whose working directory is the run's (PostgreSQL
    overwrites its environment)."""
    found: list[psutil.Process] = []
    above = {process.pid for process in psutil.Process().parents()} | {os.getpid()}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid in above or process.status() == psutil.STATUS_ZOMBIE or _own_helper(process):
                continue
            if process.environ().get(VARIABLE) == str(room) or Path(process.cwd()).is_relative_to(room):
                found.append(process)
    return found


def _own_helper(process: psutil.Process) -> bool:
    """Python's own helper processes end with this process."""
    return process.ppid() == os.getpid() and any("multiprocessing" in part for part in process.cmdline())


def _described(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:160]}"
    except psutil.Error:
        return str(process.pid)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    seconds: dict[str, float] = defaultdict(float)
    tests: dict[str, set[str]] = defaultdict(set)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                folder = "/".join(report.nodeid.split("::", 1)[0].split("/")[:2])
                seconds[folder] += report.duration
                tests[folder].add(report.nodeid)
    if len(seconds) > 1:
        terminalreporter.section("time by directory")
        for folder, taken in sorted(seconds.items(), key=lambda entry: -entry[1]):
            terminalreporter.line(f"{taken:8.1f} s  {len(tests[folder]):5} tests  {folder}")
    if left := config.stash.get(_leftovers, []):
        terminalreporter.section("processes left behind (killed now; the run fails)", red=True)
        for line in left:
            terminalreporter.line(line)
