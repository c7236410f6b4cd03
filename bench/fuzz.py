"""Ten minutes of hostile requests with real ids, over every host; then of schemathesis. Nothing may be a 5xx, take five
seconds or leave a traceback.

    bench/fuzz.py --url http://127.0.0.1:8080 --key stoa_acc_… --minutes 10 --log server.log --seed 1

The fuzzer takes the routes from the OpenAPI documents, makes what their paths name (a conversation, a run, a file, a
base, an item, a tool, a source), and sends each route its own examples with one thing wrong at a time. `schemathesis`,
when it is on the PATH, gets half of the time. 503 is an answer of a server that sheds load, and is counted; 501 says
that a thing is not supported.
"""

import argparse
import asyncio
import json
import random
import re
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

SECONDS_MAX = 5.0
ALLOWED_5XX = frozenset({501, 503})
SURROGATE = json.loads('"\\ud800"')
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    2**63,
    -(2**70),
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "",
    " ",
    "\0",
    "\x7f\u202e",
    SURROGATE,
    "x" * 70_000,
    "٣",
    "😀" * 300,
    "../../etc/passwd",
    "'; DROP TABLE runs; --",
    "{{7*7}}",
    "%00",
    [],
    {},
    [[]] * 50,
    {"": 1},
    {"a": {"b": [None]}},
    [{"type": "text", "text": "x"}] * 300,
    "00000000-0000-0000-0000-000000000000",
    "9999-99-99T99:99:99Z",
]
HEADERS: list[tuple[str, bytes]] = [
    ("Content-Type", b"text/plain"),
    ("Content-Type", b"multipart/form-data"),
    ("Content-Type", b"multipart/form-data; boundary=" + b"b" * 500),
    ("Content-Type", b"application/json; charset=utf-16"),
    ("Idempotency-Key", b"\xff"),
    ("Idempotency-Key", b"k" * 300),
    ("Last-Event-ID", b"-1"),
    ("Last-Event-ID", b"\xd9\xa3"),
    ("X-Request-Id", b"a" * 5000),
    ("Accept", b"\xff\xfe"),
    ("Origin", b"null"),
    ("Range", b"bytes=0-,5-1"),
    ("Content-Encoding", b"gzip"),
    ("Authorization", b"Bearer \xff"),
    ("Host", b"a.b.kb.localhost"),
    ("Host", b"[::1"),
    ("Host", b"router.localhost"),
]


class Fuzzer:
    def __init__(self, client: httpx.AsyncClient, seed: int) -> None:
        self.client = client
        self.random = random.Random(seed)
        self.ids: dict[str, str] = {}
        self.routes: list[tuple[str, str, str, dict[str, Any]]] = []
        self.counts: Counter[int] = Counter()
        self.faults: list[str] = []
        self.slowest = 0.0

    async def prepare(self) -> None:
        """Real things, so that a request gets past "there is no such thing"."""

        async def made(path: str, body: object) -> dict[str, Any]:
            answer = await self.client.post(path, json=body)
            answer.raise_for_status()
            return dict(answer.json()["data"])

        models = (await self.client.get("/v1/router/models")).json()["data"]
        self.ids["model_id"] = models[0]["id"]
        conversation = await made("/v1/conversations", {"model_id": models[0]["id"]})
        self.ids["conversation_id"] = conversation["id"]
        run = await made(f"/v3/conversations/{conversation['id']}/messages", {"content": "Hi", "stream": False})
        self.ids["run_id"] = run["id"]
        base = await made("/v1/knowledgebases", {"name": "Fuzzed"})
        self.ids["knowledgebase_id"] = self.ids["vector_store_id"] = base["id"]
        file = await self.client.post(
            f"/v1/conversations/{conversation['id']}/files", files={"file": ("a.txt", b"some text")}
        )
        self.ids["file_id"] = file.json()["data"]["id"]
        item = await self.client.post(
            f"/v1/knowledgebases/{base['id']}/upload", files={"files": ("a.txt", b"some text")}
        )
        self.ids["item_id"] = item.json()["data"][0]["id"]
        tool = {"name": "fuzzed", "type": "http", "description": "d", "config": {"url": "http://127.0.0.1:9/"}}
        self.ids["tool_id"] = (await made("/v1/tools", tool))["id"]
        for prefix in ("", f"/kb/{base['id']}"):
            document = (await self.client.get(f"{prefix}/openapi.json")).json()
            for path, methods in document["paths"].items():
                for method, operation in methods.items():
                    self.routes.append((prefix, method.upper(), path, operation))

    async def one(self) -> None:
        prefix, method, path, operation = self.random.choice(self.routes)
        if method == "DELETE" and self.random.random() < 0.95:
            return
        headers: list[tuple[str, bytes]] = []
        url = prefix + re.sub(r"\{(\w+)\}", lambda found: self._path_value(found[1]), path)
        url += self._query(operation)
        content = self._body(operation, headers)
        if self.random.random() < 0.15:
            headers.append(self.random.choice(HEADERS))
        begun = time.perf_counter()
        try:
            async with self.client.stream(method, url, content=content, headers=headers) as answer:
                status = answer.status_code
                size = 0
                async for piece in answer.aiter_bytes():
                    size += len(piece)
                    if "event-stream" in answer.headers.get("content-type", "") and size > 2_000:
                        break
        except (httpx.InvalidURL, httpx.LocalProtocolError, UnicodeError):
            return  # The client's own library refuses to send it.
        except httpx.TransportError as error:
            self.counts[0] += 1
            if not isinstance(error, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError):
                self.faults.append(f"{method} {url[:200]}: {error!r}")
            return
        seconds = time.perf_counter() - begun
        self.counts[status] += 1
        self.slowest = max(self.slowest, seconds)
        if status >= 500 and status not in ALLOWED_5XX:
            self.faults.append(f"{status} {method} {url[:200]} {content[:300]!r} {headers}")
        if seconds > SECONDS_MAX:
            self.faults.append(f"{seconds:.1f} s {method} {url[:200]} {content[:300]!r}")

    def _path_value(self, name: str) -> str:
        if self.random.random() < 0.8:
            return self.ids.get(name, "00000000-0000-7000-8000-000000000001")
        return self.random.choice(["1", "%00", "..", "%2e%2e%2f", "x" * 300, "%ff", "null", "latest"])

    def _query(self, operation: dict[str, Any]) -> str:
        names = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
        if not names or self.random.random() < 0.5:
            return ""
        values = [
            "",
            "0",
            "-1",
            "1",
            "9" * 30,
            "%00",
            "%ff",
            "x" * 2_000,
            "null",
            "[]",
            "a,b",
            "-created_at",
            "%ED%A0%80",
        ]
        chosen = self.random.sample(names, min(len(names), self.random.randint(1, 3)))
        return "?" + "&".join(f"{name}={self.random.choice(values)}" for name in chosen)

    def _body(self, operation: dict[str, Any], headers: list[tuple[str, bytes]]) -> bytes:
        kinds = operation.get("requestBody", {}).get("content", {})
        if "application/json" in kinds:
            headers.append(("Content-Type", b"application/json"))
            examples = list(kinds["application/json"].get("examples", {}).values())
            example = json.loads(json.dumps(self.random.choice(examples)["value"])) if examples else {}
            if "model_id" in example:
                example["model_id"] = self.ids["model_id"]
            if self.random.random() < 0.9:
                example = self._spoilt(example)
            raw = json.dumps(example).encode()
            return raw if self.random.random() < 0.95 else raw[: self.random.randint(0, len(raw))]
        if "multipart/form-data" in kinds:
            headers.append(("Content-Type", b"multipart/form-data; boundary=b"))
            name = self.random.choice([b"file", b"files", b"input", b"ids", b""])
            file = self.random.choice(
                [b'; filename="a.txt"', b'; filename="\x00\n"', b'; filename="' + b"x" * 2_000 + b'"', b""]
            )
            value = self.random.choice([b"text", b"{}", b"[", b'{"metadata":[{"a":1e999}]}', b"\xff\xfe" * 100, b""])
            part = b'--b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (name, file, value)
            return part * self.random.randint(1, 3) + self.random.choice([b"--b--\r\n", b"", b"--b"])
        return b""

    def _spoilt(self, value: Any) -> Any:
        """The value with one thing in it replaced, added or taken away."""
        if isinstance(value, dict) and value and self.random.random() < 0.8:
            key = self.random.choice(list(value))
            change = self.random.random()
            if change < 0.15:
                value[key + "x"] = value.pop(key)
            elif change < 0.25:
                del value[key]
            elif change < 0.5:
                value[self.random.choice(["metadata", "agent", "filters", "tools", "config"])] = self.random.choice(
                    VALUES
                )
            else:
                value[key] = self._spoilt(value[key])
            return value
        return self.random.choice(VALUES)


async def fuzz(url: str, key: str, seconds: float, seed: int, workers: int) -> Fuzzer:
    limits = httpx.Limits(max_connections=workers)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30, limits=limits) as client:
        fuzzer = Fuzzer(client, seed)
        await fuzzer.prepare()
        end = time.monotonic() + seconds

        async def work() -> None:
            while time.monotonic() < end:
                await fuzzer.one()

        await asyncio.gather(*(work() for _ in range(workers)))
        return fuzzer


async def schemathesis(url: str, key: str, seconds: float, seed: int) -> list[str]:
    program = shutil.which("schemathesis") or str(Path(sys.executable).parent / "schemathesis")
    if not Path(program).exists():
        return ["schemathesis is not on this machine"]
    process = await asyncio.create_subprocess_exec(
        program,
        "run",
        f"{url}/openapi.json",
        "--header",
        f"Authorization: Bearer {key}",
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        "10000",
        "--max-time",
        str(int(seconds)),
        "--seed",
        str(seed),
        "--workers",
        "2",
        "--request-timeout",
        str(int(SECONDS_MAX)),
        "--checks",
        "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        "--exclude-path-regex",
        "access-keys|connections",
        "--no-color",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), seconds + 120)
    except TimeoutError:
        process.kill()
        return ["schemathesis did not end"]
    text = output.decode(errors="replace")
    print(text[-1_500:])
    return [text[-4_000:]] if "Failures:" in text or "FAILURES" in text else []


async def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--url", default="http://127.0.0.1:8080")
    arguments.add_argument("--key", required=True)
    arguments.add_argument("--minutes", type=float, default=10)
    arguments.add_argument("--workers", type=int, default=8)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--log", type=Path, help="what the server logs; searched for tracebacks")
    arguments.add_argument("--no-schemathesis", action="store_true")
    chosen = arguments.parse_args()
    share = 1.0 if chosen.no_schemathesis else 0.5
    fuzzer = await fuzz(chosen.url, chosen.key, chosen.minutes * 60 * share, chosen.seed, chosen.workers)
    faults = list(fuzzer.faults)
    counted = ", ".join(f"{status or 'closed'} {count}" for status, count in sorted(fuzzer.counts.items()))
    print(f"fuzzer: {sum(fuzzer.counts.values())} requests; {counted}; slowest {fuzzer.slowest:.2f} s")
    if not chosen.no_schemathesis:
        faults += await schemathesis(chosen.url, chosen.key, chosen.minutes * 60 * (1 - share), chosen.seed)
    if chosen.log is not None:
        logged = chosen.log.read_text(errors="replace")
        faults += [
            f"traceback in the log: {part[:600]}" for part in logged.split("Traceback (most recent call last)")[1:6]
        ]
    for fault in faults[:30]:
        print("FAULT", fault)
    print(f"{len(faults)} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    asyncio.run(main())
