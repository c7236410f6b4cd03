"""Runs the public compliance suite of Open Responses, unmodified, against a server of this tree.

    bench/compat_responses.py --suite DIRECTORY

The directory is a checkout of github.com/openresponses/openresponses (its `bin`, `src/lib` and `src/generated`); npm's
`tsx`, `zod` and `ws` are installed into a temporary directory beside it. The model is a scripted one on loopback, which
calls the first tool that it is offered. One line for each question; the exit status is that of the suite.
"""

import asyncio
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
from tests.support.scripted_model import ScriptedServer  # noqa: E402

PACKAGES = ("tsx@4", "zod@3", "ws@8")
PARTS = ("bin", "src/lib", "src/generated")
MODEL = "openai/scripted"
SHIM = 'import WebSocket from "ws";\nglobalThis.WebSocket = WebSocket; // Which takes headers, as Bun\'s does.\n'


def script(body: dict[str, Any]) -> dict[str, Any]:
    """An answer, or a call of the first tool."""
    tools = body.get("tools") or []
    if not tools:
        return {"pieces": ["One ", "two ", "three."]}
    arguments = json.dumps({"location": "San Francisco, CA"})
    return {"pieces": ["Let me look."], "tool": {"name": tools[0]["function"]["name"], "arguments": arguments}}


def installed(suite: Path, home: Path) -> None:
    for part in PARTS:
        shutil.copytree(suite / part, home / part)
    (home / "package.json").write_text('{"type": "module"}')
    (home / "shim.mjs").write_text(SHIM)
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", *PACKAGES], cwd=home, capture_output=True, text=True, check=True
    )


async def main() -> int:
    suite = Path(sys.argv[sys.argv.index("--suite") + 1])
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        home.chmod(0o755)
        await asyncio.to_thread(installed, suite, home)
        (data := home / "data").mkdir()
        async with ScriptedServer() as model:
            model.script = script
            _, url = await asyncio.to_thread(
                stack.enter_context, serving(data, OPENAI_API_KEY="k", OPENAI_BASE_URL=model.url)
            )
            command = ["node", "--import", "tsx", "--import", "./shim.mjs", "bin/compliance-test.ts", "--json"]
            address = ["--base-url", f"{url}/openai/v1", "--api-key", KEY, "--model", MODEL]
            ran = await asyncio.create_subprocess_exec(*command, *address, cwd=home, stdout=subprocess.PIPE)
            said, _ = await asyncio.wait_for(ran.communicate(), 300)
    found = json.loads(said)
    for one in found["results"]:
        why = "; ".join(one.get("errors") or ()) if one["status"] != "passed" else ""
        print(f"{one['status']:7}{one['id']}{': ' if why else ''}{why}")
    print(json.dumps(found["summary"]))
    return int(ran.returncode or 0)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
