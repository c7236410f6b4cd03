"""Deploys every YAML file of a checkout of the platform's library with `stoa apps deploy`, to a server of this tree,
and says of each what became of it.

    bench/compat_dynamiq_files.py CHECKOUT

The models that the files name are offered by a stand-in on loopback, what they take from the environment is there, the
MCP servers that are programs are declared in stoa.toml, as the command's note says, a sandbox is set, and the project
has the skills that the files name. Nothing is run: a file is deployed where every node of it could be.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from bench.bed import KEY, serving  # noqa: E402
from stoa.cli import flow_skills  # noqa: E402
from stoa.cli.flow_files import FileError, read  # noqa: E402

PROVIDERS: Final = ("openai", "anthropic")
_ENVIRONMENT: Final = re.compile(r"\$\{oc\.env:\s*([A-Za-z_0-9]+)")
_MODEL: Final = re.compile(r"^\s*model:\s*[\"']?([\w./:-]+)", re.MULTILINE)


@contextmanager
def provider(models: list[str]) -> Iterator[str]:
    """Answers what a provider is asked when it becomes a connection: which models it has."""
    listed = json.dumps({"object": "list", "data": [{"id": one, "object": "model"} for one in models]}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(listed)))
            self.end_headers()
            self.wfile.write(listed)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def deploy(file: Path, workflow: str | None, environment: Mapping[str, str]) -> str:
    command = [sys.executable, "-m", "stoa", "apps", "deploy", str(file)]
    command += ["--workflow", workflow] if workflow else []
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == 0:
        return "deployed"
    said = " ".join(line for line in done.stderr.split("\n") if line.strip() and not line.startswith("note:"))
    return f"refused: {' '.join(said.replace(f'{file}: ', '').split())}"


def programs(file: Path, environment: Mapping[str, str]) -> set[str]:
    """The MCP servers of a file that are programs, by the names that the operator declares them by."""
    found: set[str] = set()
    for workflow in (_read(file) or {})["workflows"]:
        with suppress(FileError):
            tools = read(file.read_text(), environment, workflow).tools
            found |= {tool["config"]["server"] for tool in tools if "server" in tool["config"]}
    return found


def post(url: str, path: str, body: Mapping[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}{path}", json.dumps(body).encode(), headers, method="POST")
    urllib.request.urlopen(request, timeout=60).close()


def skills(file: Path, environment: Mapping[str, str]) -> set[str]:
    """The names of the skills of a file."""
    found: set[str] = set()
    for workflow in (_read(file) or {})["workflows"]:
        with suppress(FileError):
            found |= {one.name for one in flow_skills.wanted(read(file.read_text(), environment, workflow).flow)}
    return found


def main() -> int:
    checkout = Path(sys.argv[1]).absolute()
    files = sorted(one for one in checkout.rglob("*.y*ml") if "workflows" in (_read(one) or {}))
    texts = [one.read_text() for one in files]
    models = sorted({found for text in texts for found in _MODEL.findall(text)})
    variables = sorted({found for text in texts for found in _ENVIRONMENT.findall(text)})
    deployed = total = 0
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        home.chmod(0o755)
        base_url = stack.enter_context(provider(models))
        (home / "data").mkdir()
        declared = {name for file in files for name in programs(file, dict.fromkeys(variables, "example"))}
        server = [str(ROOT / "tests/support/mcp_servers.py"), str(home / "diary")]
        (home / "stoa.toml").write_text(
            "".join(
                f"[[mcp_servers]]\nname = {json.dumps(name)}\ncommand = {json.dumps(sys.executable)}\n"
                f"args = {json.dumps(server)}\n"
                for name in sorted(declared)
            )
        )
        os.chdir(home)
        settings = {"STOA_ALLOW_PRIVATE_ADDRESSES": "true", "STOA_SANDBOX": "subprocess"}
        _, url = stack.enter_context(serving(home / "data", **settings))
        for name in PROVIDERS:
            config = {"base_url": base_url, "api_key": "sk-none"}
            post(url, "/v1/connections", {"name": name, "type": "openai", "config": config})
        for name in sorted({name for file in files for name in skills(file, dict.fromkeys(variables, "example"))}):
            about = {"description": f"The skill {name}.", "instructions": "Be brief."}
            post(url, "/v1/skills", {"name": name, **about})
        environment = {**os.environ, **dict.fromkeys(variables, "example"), "STOA_URL": url, "STOA_KEY": KEY}
        for file in files:
            workflows: Any = list((_read(file) or {})["workflows"])
            for workflow in workflows:
                said = deploy(file, workflow if len(workflows) > 1 else None, environment)
                total += 1
                deployed += said == "deployed"
                shown = str(file.relative_to(checkout)) + (f" ({workflow})" if len(workflows) > 1 else "")
                print(f"{shown} | {said}", flush=True)
    print(f"\n{deployed} of {total} deployed")
    return 0


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
    return found if isinstance(found, dict) else None


if __name__ == "__main__":
    sys.exit(main())
