"""Generates clients from the OpenAPI documents of a running server, and says what the generators warn of.

    bench/compat_openapi.py --url http://127.0.0.1:8080 --key stoa_acc_…

Needs `openapi-python-client` and `ruff` on the PATH, and npx for `openapi-typescript` and `tsc`; what is missing is
said and left out. The generated Python client then walks the README's first steps: models, a conversation, a message,
its run and events.
"""

import argparse
import importlib
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any


def fetched(url: str, key: str, body: object = None) -> Any:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


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


def walk(home: Path, url: str, key: str) -> bool:
    """The README's walk, by the generated client."""
    sys.path.insert(0, str(home))
    try:
        package = "api_client"
        client = importlib.import_module(f"{package}.client").AuthenticatedClient(
            base_url=url, token=key, raise_on_unexpected_status=True
        )
        models = importlib.import_module(f"{package}.models")

        def call(module: str, **arguments: Any) -> Any:
            return importlib.import_module(f"{package}.api.{module}").sync(client=client, **arguments)

        model = call("gateway.list_models").data[0]
        created = call(
            "conversations.create_conversation", body=models.CreateConversation(model_id=model.id, title="Generated")
        )
        sent = models.SendMessageBody(content="Hello!", stream=False)
        run = call("runs.send_message", conversation_id=created.data.id, body=sent).data
        events = call("runs.list_run_events", run_id=run.id).data
        print(f"walk: run {run.status}, {len(events)} events, the last {events[-1].type_}")
        return str(run.status) == "completed" and events[-1].type_ == "run.completed"
    finally:
        sys.path.remove(str(home))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--url", default="http://127.0.0.1:8080")
    arguments.add_argument("--key", required=True)
    chosen = arguments.parse_args()
    base = fetched(f"{chosen.url}/v1/knowledgebases", chosen.key, {"name": "Generated"})["data"]["url"]
    with tempfile.TemporaryDirectory() as folder:
        home, good = Path(folder), True
        for name, url in (("api", chosen.url), ("kb", base)):
            document = home / f"{name}.json"
            document.write_text(json.dumps(fetched(f"{url}/openapi.json", chosen.key)))
            good = python_client(document, home) and good
            good = typescript_client(document, home) and good
        if (home / "api_client").is_dir():
            good = walk(home, chosen.url, chosen.key) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
