"""`stoa demo`: the main features on real input. Every HTTP call is shown.

It starts a server on a free port, and calls it as any client would.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from rich.console import Console
from rich.text import Text

from stoa.access.rules import new_secret
from stoa.cli.client import call, open_call
from stoa.cli.stream.errors import StoaError

DOCUMENT: Final = "stoa-handbook.pdf"
QUESTION: Final = (
    "After how many seconds of silence does the stream send a heartbeat, "
    "and which status tells that a conversation is busy?"
)
START_SECONDS_MAX: Final = 60.0
SEEN_BEFORE_THE_CUT: Final = 4
SHOWN_CHARACTERS_MAX: Final = 110


class DemoError(Exception):
    """The demo failed. The message says why."""


def run(data_dir: Path | None, *, keep: bool, out: Console) -> None:
    """Runs the demo. Raises DemoError if a result is not as expected."""
    began = time.monotonic()
    home = data_dir or Path(tempfile.mkdtemp(prefix="stoa-demo-"))
    home.mkdir(parents=True, exist_ok=True)
    if data_dir is None:
        home.chmod(0o711)  # The database may run as another user, who must reach its own directory.
    try:
        _say(out, "Starting a server", "stoa serve --port 0: the API, its workers and an embedded PostgreSQL")
        with _server(home) as (url, key):
            out.print(
                f"  ready at {url} in {time.monotonic() - began:.1f} s, its data in {home}\n", style="dim", markup=False
            )
            Tour(url, key, out).run()
    except StoaError as error:
        raise DemoError(str(error)) from error
    finally:
        if data_dir is None and not keep:
            shutil.rmtree(home, ignore_errors=True)
    out.print(
        f"\nDone in {time.monotonic() - began:.1f} s. Start your own server with: make serve (or: stoa serve)."
        " It prints a link that opens the console, signed in: chat, knowledge, apps, tools, runs, traces.",
        style="bold green",
        markup=False,
    )


class Tour:
    """The calls of the demo, in order."""

    def __init__(self, url: str, key: str, out: Console) -> None:
        self._url, self._key, self._out = url, key, out

    def run(self) -> None:
        conversation_id = self._conversation()
        file_id = self._upload(conversation_id)
        self._ask_cut_and_resume(conversation_id, file_id)
        self._search(conversation_id)
        self._delete(conversation_id)

    def _conversation(self) -> str:
        _say(
            self._out,
            "A conversation",
            "with a model of the catalogue; without any model key that is the built-in one, which quotes your "
            "documents",
        )
        models = self._call("GET", "/v1/router/models")["data"]
        model = next(entry for entry in models if entry["slug"] == "stoa-extractive")
        body = {"model_id": model["id"], "title": "Reading the handbook"}
        return str(self._call("POST", "/v1/conversations", body)["data"]["id"])

    def _upload(self, conversation_id: str) -> str:
        content = resources.files("stoa.cli").joinpath("assets", DOCUMENT).read_bytes()
        _say(
            self._out,
            "A document",
            f"{DOCUMENT}, {len(content) // 1024} KiB, goes up and is read in a process of its own",
        )
        path = f"/v1/conversations/{conversation_id}/files"
        boundary = uuid4().hex
        disposition = f'Content-Disposition: form-data; name="file"; filename="{DOCUMENT}"'
        head = f"--{boundary}\r\n{disposition}\r\nContent-Type: application/pdf\r\n\r\n"
        data = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        self._show("POST", path, f"multipart/form-data, file={DOCUMENT}")
        with open_call(
            "POST", self._url, self._key, path, data, {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        ) as answer:
            file = json.loads(answer.read())["data"]
        while file["status"] == "pending":
            time.sleep(0.1)
            file = call("GET", self._url, self._key, f"/v1/files/{file['id']}")["data"]
        self._answer(f"status {file['status']}, {file.get('pages')} pages", f"/v1/files/{file['id']}")
        if file["status"] != "ready":
            raise DemoError(f"The document could not be read: {file.get('error')}")
        return str(file["id"])

    def _ask_cut_and_resume(self, conversation_id: str, file_id: str) -> None:
        _say(self._out, "A question", "the answer streams; after a few events the connection is dropped")
        path = f"/v3/conversations/{conversation_id}/messages"
        body = {"content": [{"type": "text", "text": QUESTION}, {"type": "file", "file": {"id": file_id}}]}
        self._show("POST", path, json.dumps(body))
        headers = {"Content-Type": "application/json"}
        seen: list[tuple[str, str]] = []
        with open_call("POST", self._url, self._key, path, json.dumps(body).encode(), headers) as answer:
            run_id = answer.headers["Stoa-Run-Id"]
            for event in _events(answer):
                self._event(event)
                seen.append(event)
                if len(seen) == SEEN_BEFORE_THE_CUT:
                    break
        self._out.print("  ✂ connection dropped; the run goes on without us\n", style="yellow")
        time.sleep(0.3)
        path = f"/v1/runs/{run_id}/stream"
        self._show("GET", path, f"Last-Event-ID: {len(seen)}")
        with open_call("GET", self._url, self._key, path, None, {"Last-Event-ID": str(len(seen))}) as answer:
            for event in _events(answer):
                self._event(event)
                seen.append(event)
        self._prove(seen)
        output = json.loads(seen[-1][1])["data"]["output"]
        self._out.print("\n  The answer:\n", style="bold")
        for line in output.splitlines():
            self._out.print(f"    {line}", markup=False)
        self._out.print()

    def _prove(self, seen: list[tuple[str, str]]) -> None:
        """Compares the terminal event's hash with the events that arrived over two connections."""
        last = json.loads(seen[-1][1])
        if last["type"] != "run.completed":
            raise DemoError(f"The run ended as {last['type']}: {last['data']}")
        numbers = [json.loads(payload)["sequence"] for _, payload in seen]
        digest = hashlib.sha256(b"".join(payload.encode() + b"\n" for _, payload in seen[:-1])).hexdigest()
        log = last["data"]["log"]
        if numbers != list(range(1, len(seen) + 1)) or log != {"events": len(seen) - 1, "sha256": digest}:
            raise DemoError(f"Events were lost or repeated: {numbers}")
        self._out.print(
            f"\n  ✓ {len(seen)} events, numbered 1 to {len(seen)} without a gap; their SHA-256 is the one the server "
            f"sealed: {digest[:16]}…",
            style="green",
            markup=False,
        )

    def _search(self, conversation_id: str) -> None:
        _say(self._out, "The history", "is searched by words in titles and messages")
        found = self._call("GET", "/v1/conversations?q=heartbeat")["data"]
        if [conversation["id"] for conversation in found] != [conversation_id]:
            raise DemoError("The search did not find the conversation.")

    def _delete(self, conversation_id: str) -> None:
        _say(self._out, "The deletion", "removes everything, looks again, and gives a receipt")
        deleted = self._call("DELETE", f"/v1/conversations/{conversation_id}")
        receipt = self._call("GET", f"/v1/deletions/{deleted['deletion_id']}", shown=False)["data"]
        for store, counts in receipt["stores"].items():
            if counts["rows"]:
                self._out.print(f"    {store:<18} {counts['rows']:>5} rows {counts['bytes']:>9} bytes", markup=False)
        if "verified_at" not in receipt:
            raise DemoError("The deletion was not verified.")
        self._out.print(f"  ✓ a re-scan at {receipt['verified_at']} found nothing left", style="green", markup=False)

    # --- showing ----------------------------------------------------------------------------------------------------
    def _call(self, method: str, path: str, body: object | None = None, *, shown: bool = True) -> Any:
        self._show(method, path, json.dumps(body) if body is not None else "")
        answer = call(method, self._url, self._key, path, body)
        if shown:
            self._answer(json.dumps(answer))
        return answer

    def _show(self, method: str, path: str, what: str) -> None:
        line = Text("  → ", style="cyan")
        line.append(f"{method} {path}", style="bold cyan")
        line.append(f"  {_short(what)}", style="dim")
        self._out.print(line)

    def _answer(self, text: str, path: str = "") -> None:
        self._out.print(f"  ← {_short(text)}" + (f"  ({path})" if path else ""), style="dim", markup=False)

    def _event(self, event: tuple[str, str]) -> None:
        name, payload = event
        parsed = json.loads(payload)
        text = parsed["data"].get("delta", parsed["data"].get("status", ""))
        line = Text(f"    {parsed['sequence']:>3}  ", style="dim")
        line.append(f"{name:<22}", style="magenta")
        line.append(_short(json.dumps(text, ensure_ascii=False)))
        self._out.print(line)


def _events(answer: Any) -> Iterator[tuple[str, str]]:
    """(event, data) pairs as they arrive. `data` is always one line."""
    name = ""
    for raw in answer:
        line = raw.decode().rstrip("\n")
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, line[6:]


@contextmanager
def _server(home: Path) -> Generator[tuple[str, str]]:
    """Runs `stoa serve`; gives (url, key). Its output is shown if it does not start."""
    key = new_secret()
    environment = {
        **os.environ,
        "STOA_BOOTSTRAP_KEY": key,
        "STOA_LOG_FORMAT": "json",
        "STOA_LOG_LEVEL": "warning",
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "stoa", "serve", "--port", "0", "--data-dir", str(home)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True)  # noqa: S603 — our own program
    printed: list[str] = []
    ready = threading.Event()
    url = ""

    def listen() -> None:
        nonlocal url
        assert process.stdout is not None
        for line in process.stdout:
            printed.append(line)
            if line.startswith("Stoa is ready at "):
                url = line.split()[4]
                ready.set()
        ready.set()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        ready.wait(START_SECONDS_MAX)
        if not url:
            raise DemoError("The server did not start:\n" + "".join(printed[-20:]))
        yield url, key
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        listener.join(5)
        if process.stdout is not None:
            process.stdout.close()


def _say(out: Console, title: str, about: str) -> None:
    line = Text(f"\n{title}", style="bold")
    line.append(f": {about}", style="default")
    out.print(line)


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS_MAX else text[: SHOWN_CHARACTERS_MAX - 1] + "…"
