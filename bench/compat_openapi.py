"""Generates clients from the OpenAPI documents of a running server, and says what the generators warn of.

    bench/compat_openapi.py --url http://127.0.0.1:8080 --key stoa_acc_…

Needs `openapi-python-client` and `ruff` on the PATH, and npx for `openapi-typescript` and `tsc`; what is missing is
said and left out. Every host is asked for its document: the api, a knowledge base, an app, the router, the collector.
The generated Python clients then walk the README's first steps: models, a conversation with a file, a message, its run
and events, a search in a base, and the deletions.
"""

import argparse
import importlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


def fetched(url: str, key: str, body: object = None) -> Any:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"{url}: {error.read().decode()}")


def app(url: str, key: str) -> str:
    """The URL of an app that was made for this."""
    model = fetched(f"{url}/v1/router/models", key)["data"][0]["slug"]
    flow = {"agent": {"model": model, "instructions": "You answer."}}
    workflow = fetched(f"{url}/v1/workflows", key, {"name": "generated", "flow": flow})["data"]["id"]
    fetched(f"{url}/v1/workflows/{workflow}/release", key, {"name": "one", "flow": flow})
    project = fetched(f"{url}/v1/projects", key)["data"][0]["id"]
    body = {"name": "Generated", "project_id": project, "workflow_id": workflow}
    return str(fetched(f"{url}/v1/apps", key, body)["data"]["url"])


def said(command: list[str], cwd: Path) -> tuple[int, str]:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def python_client(document: Path, home: Path) -> bool:
    if shutil.which("openapi-python-client") is None:
        print("openapi-python-client: not on this machine")
        return True
    command = ["openapi-python-client", "generate", "--path", str(document), "--output-path", f"{document.stem}_client"]
    status, text = said([*command, "--meta", "none", "--overwrite"], home)
    warned = status != 0 or "arning" in text
    print(f"openapi-python-client {document.stem}: {'warns' if warned else 'no warning'}")
    if warned:
        print(text[:3_000])
    return not warned


def typescript_client(document: Path, home: Path) -> bool:
    if shutil.which("npx") is None:
        print("openapi-typescript: no npx on this machine")
        return True
    target = home / f"{document.stem}.ts"
    status, text = said(["npx", "--yes", "openapi-typescript", str(document), "-o", str(target)], home)
    checked, found = said(["npx", "--yes", "-p", "typescript", "tsc", "--noEmit", "--strict", str(target)], home)
    warned = status != 0 or checked != 0 or "warn" in text.lower()
    print(f"openapi-typescript {document.stem}: {'warns' if warned else 'no warning, compiles'}")
    if warned:
        print((text + found)[:3_000])
    return not warned


class Client:
    """A generated package, and calls of its operations."""

    def __init__(self, package: str, url: str, key: str) -> None:
        self.models = importlib.import_module(f"{package}.models")
        self._package = package
        self._client = importlib.import_module(f"{package}.client").AuthenticatedClient(
            base_url=url, token=key, raise_on_unexpected_status=True
        )

    def __call__(self, module: str, **arguments: Any) -> Any:
        answer = importlib.import_module(f"{self._package}.api.{module}").sync(client=self._client, **arguments)
        if type(answer).__name__ == "RefusalBody":
            sys.exit(f"{module}: {answer}")
        return answer

    def file(self, text: bytes) -> Any:
        return importlib.import_module(f"{self._package}.types").File(io.BytesIO(text), "a.txt", "text/plain")


TEXT = b"A node may be silent for four seconds."


def walk(url: str, key: str) -> bool:
    """The README's first steps: models, a conversation with a file, a run and its events, a search, the deletion."""
    call = Client("api_client", url, key)
    models = call.models
    slug = call("gateway.list_models").data[0].slug
    body = models.CreateConversation(model_id=slug, title="Generated")
    conversation = call("conversations.create_conversation", body=body).data.id
    form = models.UploadFileForm(file=call.file(TEXT))
    file = call("conversations.upload_file", conversation_id=conversation, body=form).data
    parts = [
        models.TextPart(type_="text", text="How long may a node be silent?"),
        models.FilePart(type_="file", file=models.FileIn(id=file.id)),
    ]
    sent = models.SendMessageBody(content=parts, stream=False)
    run = call("runs.send_message", conversation_id=conversation, body=sent).data
    events = call("runs.list_run_events", run_id=run.id).data
    found = call("conversations.list_conversations", q="silent").data
    gone = call("conversations.delete_conversation", conversation_id=conversation)
    print(f"walk: run {run.status}, {len(events)} events up to {events[-1].type_}, found {len(found)}, {gone.message}")
    ends = (str(run.status), events[-1].type_, len(found), str(gone.message))
    return ends == ("completed", "run.completed", 1, "deleted")


def walk_base(url: str, key: str) -> bool:
    """Uploads a file to a base over its own host, and finds it there."""
    call = Client("kb_client", url, key)
    call("knowledge_base.upload_here", body=call.models.UploadHereForm(files=[call.file(TEXT)]))
    statuses = call.models.ItemStatus
    for _ in range(120):
        if not call("knowledge_base.list_items_here", status=[statuses("pending"), statuses("processing")]).data:
            break
        time.sleep(0.5)
    found = call("knowledge_base.search_documents", body=call.models.SearchIn(query="How long may a node be silent?"))
    print(f"walk of the base: {len(found.data)} found")
    return bool(found.data)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--url", default="http://127.0.0.1:8080")
    arguments.add_argument("--key", required=True)
    chosen = arguments.parse_args()
    hosts = {"api": chosen.url, "router": f"{chosen.url}/router", "collector": f"{chosen.url}/collector"}
    hosts["kb"] = fetched(f"{chosen.url}/v1/knowledgebases", chosen.key, {"name": "Generated"})["data"]["url"]
    hosts["app"] = app(chosen.url, chosen.key)
    with tempfile.TemporaryDirectory() as folder:
        home, good = Path(folder), True
        for name, url in hosts.items():
            document = home / f"{name}.json"
            document.write_text(json.dumps(fetched(f"{url}/openapi.json", chosen.key)))
            good = python_client(document, home) and good
            good = typescript_client(document, home) and good
        sys.path.insert(0, str(home))
        if (home / "api_client").is_dir():
            good = walk(chosen.url, chosen.key) and good
        if (home / "kb_client").is_dir():
            good = walk_base(hosts["kb"], chosen.key) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
