"""Runs the clients of the other dialects, unmodified, against a server of this tree: `openai` and `anthropic` of PyPI,
`ai` (the transport and the reader of useChat) and `@ag-ui/client` of npm.

    bench/compat_dialects.py

The model is a scripted one on loopback. npm's packages are installed into a temporary directory; what is missing on
this machine is said and left out. One line for each question; the exit status is the number of those that failed.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from bench.bed import KEY, serving  # noqa: E402

PACKAGES = ("ai@5", "@ag-ui/client@1")
PORT = 19_273
MODEL = "openai/scripted"


def javascript(url: str, home: Path) -> int:
    if shutil.which("npm") is None:
        print("ai, @ag-ui/client: no npm on this machine")
        return 0
    (home / "package.json").write_text('{"type": "module"}')
    installed = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", *PACKAGES], cwd=home, capture_output=True, text=True, check=False
    )
    if installed.returncode:
        print(f"ai, @ag-ui/client: cannot be installed here ({installed.stderr.strip().splitlines()[-1:]})")
        return 0
    for name in ("ai", "@ag-ui/client"):
        held = json.loads((home / "node_modules" / name / "package.json").read_text())
        print(f"{name} {held['version']}")
    shutil.copy(ROOT / "bench/compat_dialects.mjs", home / "clients.mjs")
    return subprocess.run(["node", "clients.mjs", url, KEY, MODEL], cwd=home, timeout=200, check=False).returncode


def question(name: str, problem: str | None) -> int:
    print(f"ok     {name}" if problem is None else f"FAILED {name}: {problem}")
    return problem is not None


def script(**fields: Any) -> str:
    return f"Hi [[script {json.dumps(fields)}]]"


def python(url: str) -> int:
    import anthropic  # noqa: PLC0415
    import openai  # noqa: PLC0415

    print(f"openai {openai.__version__}, anthropic {anthropic.__version__}")
    failed = 0
    with openai.OpenAI(base_url=f"{url}/openai/v1", api_key=KEY) as client:
        made = client.responses.create(model=MODEL, input=script(pieces=["Hel", "lo."]))
        failed += question("openai: a response", None if made.output_text == "Hello." else made.output_text)
        stream = client.responses.create(model=MODEL, input=script(pieces=["One ", "two."]), stream=True)
        events = list(stream)
        rest = list(client.responses.retrieve(events[0].response.id, stream=True, starting_after=3))  # type: ignore[union-attr]
        same = [event.to_dict() for event in rest] == [event.to_dict() for event in events[4:]]
        failed += question("openai: a stream, resumed", None if same else "other events")
        held = client.conversations.create()
        client.responses.create(model=MODEL, input=script(), conversation=held.id)
        items = list(client.conversations.items.list(held.id))
        failed += question("openai: a conversation", None if len(items) == 2 else str(items))
    with anthropic.Anthropic(base_url=f"{url}/router", api_key=KEY) as other:
        asked: Any = [{"role": "user", "content": script(pieces=["Hel", "lo."])}]
        with other.messages.stream(model=MODEL, max_tokens=100, messages=asked) as told:
            text = told.get_final_text()
        failed += question("anthropic: a stream", None if text == "Hello." else text)
    return failed


def main() -> int:
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        home.chmod(0o755)
        script_file = ROOT / "tests/support/scripted_model.py"
        model = stack.enter_context(subprocess.Popen([sys.executable, str(script_file), "--port", str(PORT)]))
        stack.callback(model.kill)
        data, address = home / "data", f"http://127.0.0.1:{PORT}/v1"
        data.mkdir()
        _, url = stack.enter_context(serving(data, OPENAI_API_KEY="k", OPENAI_BASE_URL=address))
        npm = home / "npm"
        npm.mkdir()
        return python(url) + javascript(url, npm)


if __name__ == "__main__":
    sys.exit(main())
