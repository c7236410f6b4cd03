"""The test bed of the benchmarks: a stub model and a load generator on one core, `stoa serve` on the other, its
database on the stub's core.

The CPU of the node and of its database are counted separately. Run as a program, it is the load generator of --tools
with that addition.
"""

import contextlib
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

KEY = "stoa_acc_" + "b" * 64
NODE_CORE, OTHER_CORE = 0, 1
ON_CORES = {"tied": True}


@dataclass
class Bed:
    """A stub model and a server that uses it, both running."""

    tools: Path
    stub_url: str
    stub_pid: int
    url: str
    node_pid: int
    database_pid: int
    workers: int = 1

    def load(
        self,
        target: str,
        *,
        mode: str = "streams",
        model: str = "",
        peer: tuple[str, int] | None = None,
        **options: object,
    ) -> dict[str, Any]:
        """One run of the load generator against `direct`, a target of `stoa`'s or a peer (its URL and process);
        `node_cpu_s` and `database_cpu_s` are those of its measured part."""
        ours = target.startswith("stoa")
        if peer is not None:
            url, pids = peer[0], (peer[1], 0)
        elif ours:
            url, pids = self.url, (self.node_pid, self.database_pid)
        else:
            url, pids = self.stub_url, (self.stub_pid, 0)
        arguments = [item for name, value in options.items() for item in (f"--{name.replace('_', '-')}", str(value))]
        command = [
            sys.executable,
            __file__,
            str(self.tools),
            *map(str, pids),
            target,
            "--mode",
            mode,
            "--url",
            url,
            "--stub",
            self.stub_url,
        ]
        command += ["--server-pid", str(pids[0]), *arguments, *(["--opt", f"key={KEY}"] if ours else [])]
        command += ["--opt", f"model={model}"] if model else []
        done = subprocess.run(on_core(OTHER_CORE, command), capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        return json.loads(done.stdout)

    def call(self, method: str, path: str, body: object = None) -> Any:
        request = Request(
            self.url + path,
            method=method,
            headers={"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
        )
        with urlopen(request, data=None if body is None else json.dumps(body).encode(), timeout=120) as response:
            return json.loads(response.read())

    def conversation(self) -> str:
        models = self.call("GET", "/v1/router/models?page_size=500")["data"]
        model_id = next(model["id"] for model in models if model["slug"].endswith("/stub"))
        return self.call("POST", "/v1/conversations", {"model_id": model_id})["data"]["id"]


@contextlib.contextmanager
def bed(tools: Path, *, workers: int = 0, **environment: str) -> Generator[Bed]:
    """Starts everything, and stops it at the end. `environment` is added to the server's.

    With `workers` nothing is pinned to a core: the server's processes, its database, stub and load generator share all
    of them.
    """
    if workers:
        ON_CORES["tied"] = False
        environment["STOA_WORKERS"] = str(workers)
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as home:
        Path(home).chmod(0o755)
        port = free_port()
        stub_url = f"http://127.0.0.1:{port}"
        stub = subprocess.Popen(
            on_core(OTHER_CORE, [sys.executable, str(tools / "stubllm.py"), "--port", str(port)]),
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(stub_url + "/health")
            with serving(Path(home) / "data", OPENAI_API_KEY="x", OPENAI_BASE_URL=stub_url + "/v1", **environment) as (
                server,
                url,
            ):
                database_pid = move_database(Path(home))
                yield Bed(tools, stub_url, stub.pid, url, server.pid, database_pid, max(workers, 1))
        finally:
            stub.kill()
            stub.wait()


@contextlib.contextmanager
def serving(data_dir: Path, **environment: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """`stoa serve` on its core, from its ready line on; (process, url)."""
    full = {**os.environ, "STOA_BOOTSTRAP_KEY": KEY, **environment}
    command = on_core(NODE_CORE, [sys.executable, "-m", "stoa", "serve", "--port", "0", "--data-dir", str(data_dir)])
    log = data_dir.with_name("server.log")  # As by default: one line per request.
    with log.open("wb") as errors:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=full, text=True)
    try:
        assert server.stdout is not None
        url = next((line.split()[4] for line in server.stdout if line.startswith("Stoa is ready at ")), None)
        if url is None:
            raise SystemExit(f"the server did not start: {log.read_text()}")
        yield server, url
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)


def on_core(core: int, command: list[str]) -> list[str]:
    return ["taskset", "-c", str(core), *command] if sys.platform == "linux" and ON_CORES["tied"] else command


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, seconds: float = 10) -> None:
    for _ in range(int(seconds * 20)):
        with contextlib.suppress(OSError):
            urlopen(url, timeout=1).close()
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing answers at {url}")


def move_database(home: Path) -> int:
    """The postmaster's pid. It is moved to the stub's core, as if the database were on a machine of its own."""
    pid = int(next(home.rglob("postmaster.pid")).read_text().splitlines()[0])
    if sys.platform == "linux" and ON_CORES["tied"]:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in [str(pid), *children]:
            subprocess.run(["taskset", "-cp", str(OTHER_CORE), process], stdout=subprocess.DEVNULL, check=False)
    return pid


def proportional_mb(pid: int) -> float:
    """Memory of one process, shared pages by their share."""
    found = [line for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if line.startswith("Pss:")]
    return int(found[0].split()[1]) / 1000


def machine() -> str:
    return f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _load() -> None:
    """The load generator with a ProcTree of ours, which counts the CPU of node and database separately."""
    tools, node_pid, database_pid = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    front, _, back = (tools / "loadgen.py").read_text().partition("if __name__ == '__main__':")
    module: dict[str, Any] = {"__name__": "loadgen", "__file__": str(tools / "loadgen.py")}
    exec(compile(front, "loadgen.py", "exec"), module)

    class Apart(module["ProcTree"]):
        """CPU seconds and memory of the node alone; the database's are counted separately."""

        def __init__(self, pid: object) -> None:
            self.database_begin = self.database() if database_pid else 0.0
            super().__init__(pid)

        def cpu(self) -> float:
            return sum(map(of, nodes()))

        def rss(self) -> int:
            return int(sum(map(proportional_mb, nodes())) * 1e6)

        def database(self) -> float:
            children = Path(f"/proc/{database_pid}/task/{database_pid}/children").read_text().split()
            return of(database_pid, reaped=True) + sum(of(int(child)) for child in children)

        def result(self) -> tuple[float, int]:
            used["database_cpu_s"] = round(self.database() - self.database_begin, 3) if database_pid else 0.0
            cpu, memory = super().result()
            used["node_cpu_s"] = round(cpu, 3)
            return cpu, memory

    used: dict[str, float] = {}
    ticks = os.sysconf("SC_CLK_TCK")

    def of(pid: int, *, reaped: bool = False) -> float:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return sum(map(int, fields[11 : 15 if reaped else 13])) / ticks

    def nodes() -> list[int]:
        """The server, or the parent and its workers."""
        children = Path(f"/proc/{node_pid}/task/{node_pid}/children").read_text().split()
        workers = [one for one in children if b"stoa.cli.workers.child" in Path(f"/proc/{one}/cmdline").read_bytes()]
        return [node_pid, *map(int, workers)]

    module["ProcTree"] = Apart
    module["print"] = lambda line: print(json.dumps({**json.loads(line), **used}))
    sys.argv = [str(tools / "loadgen.py"), *sys.argv[4:]]
    exec(compile(f"if True:{back}", "loadgen.py", "exec"), module)


if __name__ == "__main__":
    _load()
