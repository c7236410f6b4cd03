"""The API calls that a page made, as curl, Python and JavaScript. They contain `$STOA_KEY` instead of the key."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson


@dataclass(frozen=True, slots=True)
class Call:
    method: str
    path: str
    query: Mapping[str, Any] | None = None
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Example:
    name: str
    curl: str
    python: str
    javascript: str


def shown(calls: Sequence[Call], base: str) -> Sequence[Example]:
    return [_example(call, base) for call in calls]


def _example(call: Call, base: str) -> Example:
    query = {name: value for name, value in (call.query or {}).items() if value not in (None, "")}
    url = base + call.path + (f"?{urlencode(query, doseq=True)}" if query else "")
    body = orjson.dumps(call.body).decode() if call.body is not None else None
    method = "" if call.method == "GET" else f"-X {call.method} "
    curl = f'curl {method}{shlex.quote(url)} -H "Authorization: Bearer $STOA_KEY"'
    python = (
        f'import os, httpx\n\nanswer = httpx.{call.method.lower()}(\n    "{url}",\n'
        '    headers={"Authorization": f"Bearer {os.environ[\'STOA_KEY\']}"},\n'
    )
    javascript = (
        f'const answer = await fetch("{url}", {{\n  method: "{call.method}",\n'
        "  headers: { Authorization: `Bearer ${process.env.STOA_KEY}`"
    )
    if body is not None:
        curl += f' -H "Content-Type: application/json" -d {shlex.quote(body)}'
        python += f"    json={call.body!r},\n"
        javascript += f', "Content-Type": "application/json" }},\n  body: JSON.stringify({body}),\n'
    else:
        javascript += " },\n"
    return Example(
        f"{call.method} {call.path}",
        curl,
        python + ")\nprint(answer.json())",
        javascript + "});\nconsole.log(await answer.json());",
    )
