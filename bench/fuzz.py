"""Ten minutes of hostile requests with real ids, over every host, and of schemathesis beside it. Nothing may be a 5xx,
take five seconds or leave a traceback.

    bench/fuzz.py --url http://127.0.0.1:8080 --key stoa_acc_… --minutes 10 --log server.log --seed 1

The fuzzer takes the routes from the OpenAPI documents of all hosts, makes one of everything that their paths name (and
makes it again, because requests delete it), and sends each route a body from its examples or its schema with one thing
wrong at a time. 503 is an answer of a server that sheds load, and is counted; 501 says that a thing is not supported.
"""

import argparse
import asyncio
import contextlib
import json
import random
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from things import Maker

SECONDS_MAX = 5.0
STREAM_SECONDS = 1.0
RENEW_SECONDS = 20.0
TEXTS = ["a", "text", "Hello there, what is a run?", "00000000-0000-7000-8000-000000000001", "https://example.invalid/"]
HOSTILE_BODIES = [
    b'{"metadata": [' + b"[]," * 300_000 + b"1]}",
    b'{"metadata": ' + b"[" * 200_000,
    b'{"content": "' + rb"\ud800" * 100_000 + b'"}',
    b'{"metadata": {"n": ' + b"9" * 500_000 + b"}}",
]
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


@dataclass(frozen=True)
class Operation:
    prefix: str
    """The prefix under which its host is mounted: empty, `/kb/…`, `/apps/…`, `/router`, `/collector`."""
    method: str
    path: str
    described: dict[str, Any]
    schemas: dict[str, Any]


class Fuzzer:
    def __init__(self, client: httpx.AsyncClient, seed: int) -> None:
        self.client = client
        self.random = random.Random(seed)
        self.ids: dict[str, str] = {}
        self.routes: list[Operation] = []
        self.counts: Counter[int] = Counter()
        self.reached: Counter[str] = Counter()
        """Answers of 2xx, by route."""
        self.faults: list[str] = []
        self.slowest = 0.0

    async def prepare(self) -> None:
        """Creates one of everything, so that requests find their objects. Called repeatedly, because requests delete
        them."""
        self.ids = await Maker(self.client).everything()

    async def learn(self) -> None:
        """The operations of every host."""
        for prefix in self.prefixes():
            document = (await self.client.get(f"{prefix}/openapi.json")).json()
            schemas = document.get("components", {}).get("schemas", {})
            mounted = re.sub(self.ids["knowledgebase_id"], "BASE", re.sub(self.ids["app_id"], "APP", prefix))
            for path, methods in document["paths"].items():
                for method, described in methods.items():
                    self.routes.append(Operation(mounted, method.upper(), path, described, schemas))

    def prefixes(self) -> list[str]:
        return ["", f"/kb/{self.ids['knowledgebase_id']}", f"/apps/{self.ids['app_id']}", "/router", "/collector"]

    async def one(self) -> None:
        operation = self.random.choice(self.routes)
        method = operation.method
        if method == "DELETE" and self.random.random() < 0.95:
            return
        headers: list[tuple[str, bytes]] = []
        prefix = operation.prefix.replace("BASE", self.ids["knowledgebase_id"]).replace("APP", self.ids["app_id"])
        url = prefix + re.sub(r"\{(\w+)\}", lambda found: self._path_value(found[1], operation), operation.path)
        url += self._query(operation.described)
        content = self._body(operation, headers)
        if self.random.random() < 0.15:
            headers.append(self.random.choice(HEADERS))
        begun = time.perf_counter()
        try:
            status, seconds = await self._sent(method, url, content, headers, begun)
        except (httpx.InvalidURL, httpx.LocalProtocolError, UnicodeError):
            return  # The client's own library refuses to send it.
        except httpx.TransportError as error:
            self.counts[0] += 1
            if not isinstance(error, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError):
                self.faults.append(f"{method} {url[:200]}: {error!r}")
            return
        self.counts[status] += 1
        self.slowest = max(self.slowest, seconds)
        if status < 300:
            self.reached[f"{method} {operation.prefix}{operation.path}"] += 1
        if status >= 500 and status not in ALLOWED_5XX:
            self.faults.append(f"{status} {method} {url[:200]} {content[:300]!r} {headers}")
        if seconds > SECONDS_MAX:
            self.faults.append(f"{seconds:.1f} s {method} {url[:200]} {content[:300]!r}")

    async def _sent(
        self, method: str, url: str, content: bytes, headers: list[tuple[str, bytes]], begun: float
    ) -> tuple[int, float]:
        """Status and seconds (of a stream, until its first byte). A stream is closed after a moment."""
        async with self.client.stream(method, url, content=content, headers=headers) as answer:
            if "event-stream" not in answer.headers.get("content-type", ""):
                await answer.aread()
                return answer.status_code, time.perf_counter() - begun
            seconds = time.perf_counter() - begun
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STREAM_SECONDS):
                    async for _ in answer.aiter_bytes():
                        pass
            return answer.status_code, seconds

    def _path_value(self, name: str, operation: Operation) -> str:
        if self.random.random() < 0.8:
            name = "app_run_id" if name == "run_id" and operation.prefix.startswith("/apps") else name
            return self.ids.get(name, "00000000-0000-7000-8000-000000000001")
        return self.random.choice(["1", "%00", "..", "%2e%2e%2f", "x" * 300, "%ff", "null", "latest"])

    def _query(self, operation: dict[str, Any]) -> str:
        asked = [one for one in operation.get("parameters", ()) if one["in"] == "query"]
        names = [one["name"] for one in asked]
        if not names or self.random.random() < 0.5:
            needed = [one["name"] for one in asked if one.get("required")]
            return "?" + "&".join(f"{name}={self.ids.get(name, '1')}" for name in needed) if needed else ""
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

    def _body(self, operation: Operation, headers: list[tuple[str, bytes]]) -> bytes:
        kinds = operation.described.get("requestBody", {}).get("content", {})
        if "application/json" in kinds:
            headers.append(("Content-Type", b"application/json"))
            if self.random.random() < 0.02:
                return self.random.choice(HOSTILE_BODIES)
            examples = list(kinds["application/json"].get("examples", {}).values())
            if examples and self.random.random() < 0.5:
                example = json.loads(json.dumps(self.random.choice(examples)["value"]))
            else:
                example = self._made(kinds["application/json"].get("schema", {}), operation.schemas, 0)
            example = self._with_ids(example)
            if self.random.random() < 0.8:
                example = self._spoilt(example)
            raw = json.dumps(example).encode()
            return raw if self.random.random() < 0.95 else raw[: self.random.randint(0, len(raw))]
        if "multipart/form-data" in kinds:
            headers.append(("Content-Type", b"multipart/form-data; boundary=b"))
            if self.random.random() < 0.3:
                named = b"file" if operation.path.endswith("/files") else b"files"
                part = b'--b\r\nContent-Disposition: form-data; name="%b"; filename="a.txt"\r\n\r\nx\r\n--b--\r\n'
                return part % named
            name = self.random.choice([b"file", b"files", b"input", b"ids", b""])
            file = self.random.choice(
                [b'; filename="a.txt"', b'; filename="\x00\n"', b'; filename="' + b"x" * 2_000 + b'"', b""]
            )
            value = self.random.choice([b"text", b"{}", b"[", b'{"metadata":[{"a":1e999}]}', b"\xff\xfe" * 100, b""])
            part = b'--b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (name, file, value)
            return part * self.random.randint(1, 3) + self.random.choice([b"--b--\r\n", b"", b"--b"])
        return b""

    def _with_ids(self, value: Any) -> Any:
        """Replaces fields for ids by ids of existing objects."""
        if isinstance(value, dict):
            return {key: self.ids.get(key, self._with_ids(one)) for key, one in value.items()}
        return [self._with_ids(one) for one in value] if isinstance(value, list) else value

    def _made(self, schema: dict[str, Any], schemas: dict[str, Any], depth: int) -> Any:
        """A value that a schema allows, for simple schemas."""
        if "$ref" in schema:
            schema = schemas[schema["$ref"].rsplit("/", 1)[1]]
        for choice in ("anyOf", "oneOf"):
            if schema.get(choice):
                return self._made(self.random.choice(schema[choice]), schemas, depth + 1)
        if "allOf" in schema:
            return self._made(schema["allOf"][0], schemas, depth + 1)
        given = list(schema.get("enum", ()))
        given += [schema[name] for name in ("const", "default") if schema.get(name) is not None]
        if given and self.random.random() < 0.8:
            return self.random.choice(given)
        return self._of_type(schema, schemas, depth)

    def _of_type(self, schema: dict[str, Any], schemas: dict[str, Any], depth: int) -> Any:
        match schema.get("type"):
            case "object":
                wanted = schema.get("properties", {})
                needed = schema.get("required", ())
                chosen = [name for name in wanted if name in needed or (depth < 5 and self.random.random() < 0.4)]
                return {name: self._made(wanted[name], schemas, depth + 1) for name in chosen}
            case "array":
                many = max(schema.get("minItems", 0), self.random.choice((0, 1, 2)))
                return [self._made(schema.get("items", {}), schemas, depth + 1) for _ in range(many)]
            case "integer" | "number":
                return schema.get("minimum", self.random.choice((0, 1, 10, 0.5)))
            case "boolean":
                return self.random.random() < 0.5
            case "null":
                return None
            case _:
                return self.random.choice(TEXTS)

    def _spoilt(self, value: Any) -> Any:
        """The value with one part replaced, added or removed."""
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
        if isinstance(value, list) and value and self.random.random() < 0.8:
            place = self.random.randrange(len(value))
            value[place] = self._spoilt(value[place])
            return value
        return self.random.choice(VALUES)


async def fuzz(fuzzer: Fuzzer, seconds: float, workers: int) -> None:
    end = time.monotonic() + seconds

    async def work() -> None:
        while time.monotonic() < end:
            await fuzzer.one()

    async def renew() -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await fuzzer.prepare()

    renewing = asyncio.create_task(renew())
    await asyncio.gather(*(work() for _ in range(workers)))
    renewing.cancel()
    for ended in await asyncio.gather(renewing, return_exceptions=True):
        if isinstance(ended, Exception):
            fuzzer.faults.append(f"things could not be made: {ended}")


async def schemathesis(url: str, prefixes: list[str], key: str, seconds: float, seed: int) -> list[str]:
    """One host after the other; the api host gets half of the time."""
    program = shutil.which("schemathesis") or str(Path(sys.executable).parent / "schemathesis")
    if not Path(program).exists():
        return ["schemathesis is not on this machine"]
    faults: list[str] = []
    for prefix in prefixes:
        share = seconds * (0.5 if prefix == "" else 0.5 / (len(prefixes) - 1))
        text = await _schemathesis(program, f"{url}{prefix}", key, share, seed)
        print(f"schemathesis of {re.sub('[0-9a-f-]{36}', 'ID', prefix) or 'the API'}: {_summary(text)}")
        own = re.sub(r"^.*Runtime Error.*$", "", text, flags=re.MULTILINE)  # An error of schemathesis itself.
        if re.search(r"= FAILURES =|^Failures:|did not end|(Network|Connection|Timeout) Error", own, re.MULTILINE):
            faults.append(text[-6_000:])
    return faults


def _summary(text: str) -> str:
    found = re.findall(r"^Test cases:\n(.*)$|^(No issues found.*)$", text, re.MULTILINE)
    return "; ".join(one.strip() for pair in found for one in pair if one) or text[-300:]


async def _schemathesis(program: str, url: str, key: str, seconds: float, seed: int) -> str:
    process = await asyncio.create_subprocess_exec(
        program,
        "run",
        f"{url}/openapi.json",
        "--url",
        url,
        "--header",
        f"Authorization: Bearer {key}",
        "--phases",
        "examples,coverage,fuzzing",
        "--max-time",
        str(int(seconds)),
        "--seed",
        str(seed),
        "--workers",
        "1",  # In two threads, Python 3.11 fails to parse ("AST constructor recursion depth mismatch").
        "--request-timeout",
        str(int(SECONDS_MAX)),
        "--checks",
        "not_a_server_error,content_type_conformance,response_schema_conformance",
        "--continue-on-failure",
        "--exclude-path-regex",
        # Its own key; streams that do not end; routes that call other servers before they answer.
        "access-keys|/stream$|/sync$|^/v1/tools$|/refresh$|/tools/import$",
        "--suppress-health-check",
        "all",
        "--warnings",
        "off",
        "--no-color",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), seconds + 180)
    except TimeoutError:
        process.kill()
        return "schemathesis did not end"
    return output.decode(errors="replace")


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
    seconds = chosen.minutes * 60
    async with httpx.AsyncClient(
        base_url=chosen.url,
        headers={"Authorization": f"Bearer {chosen.key}"},
        timeout=30,
        limits=httpx.Limits(max_connections=chosen.workers + 2),
    ) as client:
        fuzzer = Fuzzer(client, chosen.seed)
        await fuzzer.prepare()
        await fuzzer.learn()
        both = [fuzz(fuzzer, seconds, chosen.workers)]
        beside: list[str] = []
        if not chosen.no_schemathesis:
            both.append(_into(beside, schemathesis(chosen.url, fuzzer.prefixes(), chosen.key, seconds, chosen.seed)))
        await asyncio.gather(*both)
    counted = ", ".join(f"{status or 'closed'} {count}" for status, count in sorted(fuzzer.counts.items()))
    routes = {f"{one.method} {one.prefix}{one.path}" for one in fuzzer.routes}
    never = sorted(routes - set(fuzzer.reached))
    print(f"fuzzer: {sum(fuzzer.counts.values())} requests; {counted}; slowest {fuzzer.slowest:.2f} s")
    print(f"routes: {len(routes)}, of which {len(routes) - len(never)} did what they do; not: {', '.join(never)}")
    faults = fuzzer.faults + beside
    if chosen.log is not None:
        logged = chosen.log.read_text(errors="replace")
        faults += [
            f"traceback in the log: {part[:1200]}" for part in logged.split("Traceback (most recent call last)")[1:6]
        ]
    for fault in faults[:30]:
        print("FAULT", fault)
    print(f"{len(faults)} faults")
    sys.exit(1 if faults else 0)


async def _into(found: list[str], asked: Coroutine[Any, Any, list[str]]) -> None:
    found += await asked


if __name__ == "__main__":
    asyncio.run(main())
