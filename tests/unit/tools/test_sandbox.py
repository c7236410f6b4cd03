"""Somebody else's code: what it may do, what it tries, and that nothing of it is left."""

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from stoa.tools.sandbox import Code, Ended, Sandbox, SandboxError, Succeeded, running
from tests.support.confined import confines

PROJECT = UUID(int=1)
pytestmark = [pytest.mark.timeout(60), confines]


async def ran(body: str, fields: Mapping[str, Any] | None = None, seconds: float = 20.0) -> Any:
    """What a function of these lines gives."""
    code = "def run(given):\n" + textwrap.indent(textwrap.dedent(body).strip(), "    ")
    return await Sandbox().run(PROJECT, Code(code), fields or {}, seconds)


async def test_it_computes_with_the_standard_library() -> None:
    body = """
        import datetime, decimal, hashlib, json, math, random, re, statistics, uuid, zoneinfo
        print("nobody reads this")
        return {"content": math.floor(statistics.mean(given["n"])), "when": datetime.date(2026, 1, 2)}
    """
    assert await ran(body, {"n": [1, 2, 6]}) == Succeeded({"content": 3, "when": "2026-01-02"})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise KeyError('x')", "KeyError: 'x' (line 2)"),
        ("import asyncpg", "No module named 'asyncpg'"),
        ("import stoa", "No module named 'stoa'"),
        ("raise SystemExit(0)", "SystemExit"),
        ("import os; os._exit(0)", "ended without a result"),
        ("return float('nan')", "ValueError"),
        ("a = []; a.append(a); return a", "ValueError"),
        ("return '\\ud800'", "no JSON"),
        ("return 'x' * 2_000_000", "more than 1048576 bytes"),
        ("return bytearray(2 ** 31)", "MemoryError"),
        ("def deep(): return deep()\nreturn deep()", "RecursionError"),
        ("class Bad(Exception):\n    def __str__(self): raise ValueError\nraise Bad", "Bad"),
    ],
)
async def test_code_that_fails(body: str, says: str) -> None:
    outcome = await ran(body)
    assert isinstance(outcome, Ended), outcome
    assert says in outcome.message
    assert not outcome.timed_out


async def test_code_without_a_callable_function_is_refused() -> None:
    for text, says in (("x = 1", "no function run"), ("run = 5", "no function run"), ("def run(:", "SyntaxError")):
        outcome = await Sandbox().run(PROJECT, Code(text), {}, 20)
        assert isinstance(outcome, Ended)
        assert says in outcome.message


PERMISSION = "PermissionError"
ATTEMPTS = [
    ("while True:\n    os.fork()", PERMISSION),
    ("import _posixsubprocess, subprocess\nsubprocess.run(['/bin/true'])", PERMISSION),
    ("os.execv('/bin/true', ['true'])", PERMISSION),
    ("os.posix_spawn('/bin/true', ['true'], {})", PERMISSION),
    ("import threading\nthreading.Thread(target=print).start()", "can't start new thread"),
    ("import socket\nsocket.socket()", PERMISSION),
    ("import socket\nsocket.socket(socket.AF_UNIX)", PERMISSION),
    ("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:1')", "Operation not permitted"),
    ("open('/proc/1/environ')", PERMISSION),
    ("open(f'/proc/{os.getppid()}/environ')", PERMISSION),
    ("open(f'/proc/{os.getppid()}/mem')", PERMISSION),
    ("open('/proc/self/environ')", PERMISSION),
    ("os.listdir('/proc')", PERMISSION),
    ("os.listdir('/')", PERMISSION),
    ("open('/etc/passwd')", PERMISSION),
    ("open(given['secret'])", PERMISSION),
    ("os.symlink(given['secret'], '/tmp/link')", PERMISSION),
    ("os.link(given['secret'], '/tmp/link')", PERMISSION),
    ("open(given['secret'] + '.new', 'w')", PERMISSION),
    ("os.mkdir(given['secret'] + '.dir')", PERMISSION),
    ("os.unlink(given['secret'])", PERMISSION),
    ("os.truncate(given['secret'], 0)", PERMISSION),
    ("os.chmod(given['secret'], 0o777)", PERMISSION),
    ("os.utime(given['secret'])", PERMISSION),
    ("os.setxattr(given['secret'], 'user.x', b'y')", PERMISSION),
    ("os.kill(os.getppid(), 0)", PERMISSION),
    ("import signal\nos.killpg(0, signal.SIGSTOP)", PERMISSION),
    ("import signal\nsignal.pidfd_send_signal(3, 0)", PERMISSION),
    ("import fcntl\nfcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())", PERMISSION),
    ("import resource\nresource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (1, 1))", PERMISSION),
    ("import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))", "not allowed to raise"),
    ("os.sched_setaffinity(os.getppid(), {0})", PERMISSION),
    ("os.setpriority(os.PRIO_PROCESS, os.getppid(), 10)", PERMISSION),
    ("os.setsid()", PERMISSION),
    ("os.memfd_create('x')", PERMISSION),
    ("os.setuid(0) if os.getuid() else os.chroot('/')", PERMISSION),
    ("os.unshare(0x10000000)" if sys.version_info >= (3, 12) else "os.chroot('/')", PERMISSION),
]
"""What is tried, and what it is answered."""


async def test_nothing_outside_can_be_reached(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("key")
    for one in (tmp_path, *tmp_path.parents):  # Another user could get there.
        if one.stat().st_uid == os.getuid() and one != Path("/"):
            one.chmod(0o755)
    body = """
        import os
        answers = []
        for attempt in given["attempts"]:
            try:
                exec("import os\\n" + attempt, {"given": given})
                answers.append("it worked")
            except BaseException as error:
                answers.append(f"{type(error).__name__}: {error}")
        return answers
    """
    outcome = await ran(body, {"secret": str(secret), "attempts": [attempt for attempt, _ in ATTEMPTS]})
    assert isinstance(outcome, Succeeded), outcome
    for (attempt, says), answered in zip(ATTEMPTS, outcome.result, strict=True):
        assert says in answered, (attempt, answered)
    assert secret.read_text() == "key"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["secret"]


async def test_no_system_call_gets_around_python() -> None:
    """By number, through the C library: a process, a program, another architecture's table, the signal of its end."""
    body = """
        import ctypes, os, platform
        libc = ctypes.CDLL(None, use_errno=True)
        numbers = {"x86_64": [56, 57, 58, 59, 41, 101, 310, 425, 165, 272], "aarch64": [220, 221, 198, 117, 270, 425]}
        codes = {}
        for number in numbers[platform.machine()]:
            codes[number] = libc.syscall(number, 0, 0, 0, 0, 0) == -1 and ctypes.get_errno()
        clone3 = libc.syscall(435, 0, 0) == -1 and ctypes.get_errno()
        death = libc.prctl(1, 0, 0, 0, 0) == -1 and ctypes.get_errno()
        return [sorted(set(codes.values())), clone3, death]
    """
    assert await ran(body) == Succeeded([[1], 38, 1])
    other_table = "import ctypes, platform\nctypes.CDLL(None).syscall(0x40000000 + 39)\nreturn platform.machine()"
    outcome = await ran(other_table)
    assert isinstance(outcome, Ended), outcome


async def test_it_inherits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOA_SECRET_KEY", "hidden")
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        body = """
            import os
            found = []
            for number in range(64):
                try:
                    os.fstat(number)
                    found.append(number)
                except OSError:
                    pass
            return {"open": len(found), "names": sorted(os.environ)}
        """
        outcome = await ran(body)
    finally:
        os.close(reading)
        os.close(writing)
    assert outcome == Succeeded({"open": 5, "names": ["LC_ALL", "MALLOC_ARENA_MAX", "PATH"]})


@pytest.mark.parametrize(
    "body",
    [
        "import signal, time\nfor one in (15, 2, 1): signal.signal(one, signal.SIG_IGN)\nwhile True: time.sleep(1)",
        "return (9 ** 9 ** 9) % 7",
        "import re\nreturn re.match('(a+)+$', 'a' * 40 + 'b') is None",
    ],
)
async def test_its_time_is_limited(body: str) -> None:
    outcome = await ran(body, seconds=0.5)
    assert isinstance(outcome, Ended), outcome
    assert "longer than 0.5 seconds" in outcome.message or "without a result" in outcome.message


async def test_endless_output_ends() -> None:
    body = """
        import os
        while True:
            for number in range(1, 16):
                try:
                    os.write(number, b"x" * 65_536)
                except OSError:
                    pass
    """
    outcome = await ran(body)
    assert isinstance(outcome, Ended)
    assert "more than" in outcome.message


async def test_it_may_only_forge_its_own_result() -> None:
    for text, says in (('{"odd": 1}', "something else"), ("[", "no JSON"), ("[" * 5_000, "no JSON")):
        write = f"    try: os.write(n, {text!r}.encode() + b'\\n')\n    except OSError: pass"
        outcome = await ran(f"import os\nfor n in range(3, 8):\n{write}\nwhile True: pass", seconds=5)
        assert isinstance(outcome, Ended), outcome
        assert says in outcome.message


async def test_a_cancelled_call_leaves_no_process() -> None:
    task = asyncio.create_task(ran("import time\ntime.sleep(50)"))
    await _until(lambda: bool(_children(os.getpid())))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not _children(os.getpid())


async def test_it_ends_with_the_server() -> None:
    """`kill -9` of whoever started it, while it ignores every signal that it may."""
    script = (
        "import asyncio, uuid\nfrom stoa.tools.sandbox import Code, Sandbox\n"
        "code = 'import time\\ndef run(x):\\n    time.sleep(600)'\n"
        "asyncio.run(Sandbox().run(uuid.UUID(int=1), Code(code), {}, 60))"
    )
    server = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    try:
        await _until(lambda: len(_children(server.pid)) == 1)
        (child,) = _children(server.pid)
    finally:
        server.send_signal(signal.SIGKILL)
        await server.wait()
    await _until(lambda: not _running(child))


async def test_places_are_shared_between_projects() -> None:
    sandbox, slow = Sandbox(), Code("import time\ndef run(x):\n    time.sleep(30)")
    greedy = [asyncio.create_task(sandbox.run(PROJECT, slow, {}, 30)) for _ in range(running.AT_ONCE_MAX + 2)]
    try:
        await _until(lambda: len(_children(os.getpid())) == running.AT_ONCE_MAX - 1)
        quick = Code("def run(x):\n    return 1")
        assert await sandbox.run(UUID(int=2), quick, {}, 20) == Succeeded(1)
    finally:
        for task in greedy:
            task.cancel()
        await asyncio.gather(*greedy, return_exceptions=True)
    assert not _children(os.getpid())


async def test_an_operator_s_own_sandbox() -> None:
    """Any command that ends in a Python interpreter; it, and what it started in its session, end with the call."""
    sandbox = Sandbox(["/usr/bin/env", "INSIDE=yes", sys.executable])
    code = "import os\ndef run(given):\n    return [os.environ.get('INSIDE'), given['n']]"
    assert await sandbox.run(PROJECT, Code(code), {"n": 1}, 20) == Succeeded(["yes", 1])
    assert not sandbox.closed
    starting = "import os, time\ndef run(given):\n    os.fork()\n    time.sleep(50)"
    outcome = await sandbox.run(PROJECT, Code(starting), {}, 1.5)
    assert isinstance(outcome, Ended)
    assert outcome.timed_out
    assert not _children(os.getpid())
    with pytest.raises(SandboxError, match="no program '/nowhere/bwrap'"):
        await Sandbox(["/nowhere/bwrap", "python3"]).run(PROJECT, Code(code), {}, 5)
    outcome = await Sandbox(["/bin/false"]).run(PROJECT, Code(code), {}, 5)
    assert isinstance(outcome, Ended)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.02)


def _children(parent: int) -> list[int]:
    """Processes of the sandbox that are alive."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        process = int(entry.name) if entry.name.isdigit() else 0
        if process and _running(process) and _parent(process) == parent and _is_sandbox(process):
            found.append(process)
    return found


def _is_sandbox(process: int) -> bool:
    try:
        line = Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False
    return b"confining.py" in line or b"_end_with_parent" in line


def _stat(process: int) -> list[str]:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["X", "0"]


def _parent(process: int) -> int:
    return int(_stat(process)[1])


def _running(process: int) -> bool:
    return _stat(process)[0] not in ("Z", "X")
