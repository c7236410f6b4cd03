"""What the server imports before it answers: nothing heavy that only some requests need. Which, not how long: a
machine's speed is no promise."""

import subprocess
import sys

LATER = {
    "aiohttp": "calls out: model lists, tools, sources, remote embedders",
    "defusedxml": "sitemaps, buckets",
    "dulwich": "repositories",
    "jinja2": "shows a page of the console",
    "jsonschema": "MCP",
    "jsonschema_rs": "checks a schema, or a value against one",
    "jsonpath": "reads an input transformer, or follows a path of a flow",
    "markdown_it": "shows an answer on a page",
    "mcp": "speaks MCP",
    "nh3": "shows an answer on a page",
    "numpy": "vectors and scores",
    "obstore": "files in a bucket",
    "onnxruntime": "the local embedder",
    "protego": "robots.txt",
    "PIL": "reads a picture, in a process of its own",
    "prometheus_client": "is scraped",
    "pypdfium2": "reads a PDF, in a process of its own",
    "selectolax": "reads a page of a website",
    "tokenizers": "the local embedder",
    "websockets": "a WebSocket",
    "xberg": "reads an office document, in a process of its own",
}
"""Module → what brings it in, at its first use and inside the function that needs it."""


def test_the_server_starts_without_what_only_some_requests_need() -> None:
    code = "import sys, stoa.app, stoa.cli.serve; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert {"stoa.app", "fastapi"} <= loaded
    found = {name: why for name, why in LATER.items() if name in loaded}
    assert not found, f"import these inside the function that needs them: {found}"
