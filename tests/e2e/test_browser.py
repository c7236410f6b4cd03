"""A browser's EventSource follows a run from another origin, with a ticket instead of a header, and stays away after
the end."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stoa.gateway import Finish, TextDelta, Usage
from tests.conftest import Running

PAGE = """<!doctype html><title>waiting</title><pre id="out"></pre><script>
const out = document.getElementById("out"), source = new EventSource(%r);
let errors = 0;
for (const type of ["run.started", "agent.response.delta", "run.completed"])
  source.addEventListener(type, event => { out.textContent += event.lastEventId + " " + event.type + "\\n"; });
source.onerror = () => {
  if (source.readyState === EventSource.CLOSED) { out.textContent += "closed"; fetch("/done"); }
};
</script>"""
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


async def test_event_source(running: Running, tmp_path: Path) -> None:
    browser = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    if browser is None:
        assert not os.environ.get("CI"), "CI must have a browser"
        pytest.skip("no Chromium on this machine")
    gate, done, asked = asyncio.Event(), asyncio.Event(), 0
    running.model.scripts = [[[TextDelta("One")], gate, [TextDelta(" two")], [Usage(1, 2), Finish("stop")]]]
    conversation_id = await running.conversation()
    run = (
        await running.call(
            "POST", f"/v3/conversations/{conversation_id}/messages", 202, json={"content": "Go", "background": True}
        )
    )["data"]
    ticket = (await running.call("POST", f"/v1/runs/{run['id']}/stream-tickets", 201))["data"]
    page = (PAGE % ticket["url"]).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        if (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET /done"):
            done.set()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(page)
            + page
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    command = [browser, *FLAGS, f"--user-data-dir={tmp_path}", "--remote-debugging-port=0", url]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(60):
            while not asked:
                await asyncio.sleep(0.05)
            gate.set()
            await done.wait()  # EventSource reconnected once after the end, was answered 204, and closed for good.
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        server.close()
