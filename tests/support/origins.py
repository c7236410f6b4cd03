"""Places that hold documents, real and on loopback: what sources are synced from in tests."""

import asyncio
import gzip
import hashlib
import shutil
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from wsgiref.simple_server import WSGIRequestHandler, make_server

import aiohttp
from dulwich import porcelain
from dulwich.repo import Repo
from dulwich.server import DictBackend
from dulwich.web import make_wsgi_chain

from stoa.outbound import Outbound
from stoa.outbound.client import client
from stoa.sources.configs import DirectoryConfig, GitConfig, S3Config, WebsiteConfig
from stoa.sources.ports import Origin
from stoa.sources.providers.directory import DirectoryOrigin
from stoa.sources.providers.git import GitOrigin
from stoa.sources.providers.s3 import S3Origin
from stoa.sources.providers.website import WebsiteOrigin
from stoa.sources.types import Failed, Fetched, Finding, Incomplete, Known, NoDocument, Unchanged
from tests.support.listening import Listener


class Memory:
    """What a sync keeps of an origin, without a database."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Any]] = {}
        self.done: set[str] = set()

    async def remember(self, origins: Sequence[str]) -> Sequence[Known]:
        return [Known(self.states.get(one, {}), one in self.done) for one in origins]

    async def walk(self, origin: Origin) -> "Walk":
        """A whole walk, its contents read."""
        walk = Walk()
        async for finding in origin.walk(self.remember):
            walk.findings.append(finding)
            match finding:
                case Fetched():
                    walk.contents[finding.origin] = finding.content.file.read()
                    assert hashlib.sha256(walk.contents[finding.origin]).digest() == finding.content.sha256
                    assert len(walk.contents[finding.origin]) == finding.content.size
                    finding.content.file.close()
                    self.states[finding.origin] = dict(finding.state)
                case NoDocument():
                    self.states[finding.origin] = dict(finding.state)
                case Failed() | Unchanged() | Incomplete():
                    pass
        return walk


@dataclass
class Walk:
    findings: list[Finding] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)

    def named(self, kind: type) -> list[str]:
        return sorted(one.origin for one in self.findings if isinstance(one, kind))  # type: ignore[union-attr]

    @property
    def incomplete(self) -> list[str]:
        return [one.reason for one in self.findings if isinstance(one, Incomplete)]

    def fetched(self, origin: str) -> Fetched:
        return next(one for one in self.findings if isinstance(one, Fetched) and one.origin == origin)


# --- a website
# ----------------------------------------------------------------------------------------------------------
@dataclass
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    """`content-length: chunked` sends the body without saying how long it is."""
    hold: asyncio.Event | None = None


@dataclass
class Site:
    """A web server on loopback. Pages have ETags; `asked` is its log: (path, status, headers)."""

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, int, dict[str, str]]] = field(default_factory=list)
    conditional: bool = True
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def page(self, path: str, *links: str, text: str = "", head: str = "", **headers: str) -> None:
        anchors = "".join(f'<a href="{link}">{link}</a>' for link in links)
        html = (
            f"<html><head><title>Page {path}</title>{head}</head>"
            f"<body><h1>{path}</h1><p>{text}</p>{anchors}</body></html>"
        )
        self.answers[path] = Answer(html.encode(), headers={"content-type": "text/html; charset=utf-8", **headers})

    def visits(self, path: str | None = None) -> list[int]:
        """The statuses of requests for pages, or for one of them."""
        return [
            status
            for asked, status, _ in self.asked
            if asked == path or (path is None and asked not in ("/robots.txt", "/sitemap.xml"))
        ]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                line, *lines = head.split("\r\n")
                headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines if one)}
                await self._answer(line.split()[1], headers, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        answer = self.answers.get(path, Answer(b"no such page", 404))
        tag = f'"{hashlib.sha256(answer.body).hexdigest()[:12]}"'
        status, body = answer.status, answer.body
        if answer.hold is not None:
            await answer.hold.wait()
        extra = dict(answer.headers)
        if self.conditional and status == 200:
            extra["etag"] = tag
            if headers.get("if-none-match") == tag:
                status, body = 304, b""
        self.asked.append((path, status, headers))
        chunked = extra.pop("content-length", "") == "chunked"
        extra |= {"transfer-encoding": "chunked"} if chunked else {"content-length": str(len(body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in extra.items())
        writer.write(f"HTTP/1.1 {status} OK\r\n{lines}\r\n".encode("latin-1"))
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body)
        await writer.drain()


@asynccontextmanager
async def site() -> AsyncGenerator[Site]:
    made = Site()
    async with Listener(made.serve) as listener:
        made.port = listener.port
        yield made


# --- worlds: one way to write into every kind of origin
# -----------------------------------------------------------------
class World:
    """`put` and `remove` documents by path; `origin` as a source would open it; `downloads` counts contents that were
    sent."""

    async def put(self, path: str, text: str) -> None: ...

    async def remove(self, path: str) -> None: ...

    def opened(self, **config: Any) -> Any: ...

    def origin_of(self, path: str) -> str:
        return path

    def downloads(self) -> int | None:
        return None

    async def break_listing(self) -> None: ...


class WebsiteWorld(World):
    def __init__(self, made: Site, session: aiohttp.ClientSession) -> None:
        self._site = made
        self._session = session
        self._paths: dict[str, str] = {}

    async def put(self, path: str, text: str) -> None:
        self._paths[path] = text
        self._site.page(f"/{quote(path)}", text=text)
        self._site.page(
            "/", *(f"/{quote(one)}" for one in sorted(self._paths)), head='<meta name="robots" content="noindex">'
        )

    async def remove(self, path: str) -> None:
        del self._paths[path], self._site.answers[f"/{quote(path)}"]
        self._site.page(
            "/", *(f"/{quote(one)}" for one in sorted(self._paths)), head='<meta name="robots" content="noindex">'
        )

    @asynccontextmanager
    async def opened(self, **config: Any) -> AsyncGenerator[Origin]:
        config = {"delay_seconds": 0, **config}
        yield WebsiteOrigin(WebsiteConfig(url=self._site.url, **config), {}, self._session)

    def origin_of(self, path: str) -> str:
        return f"{self._site.url}/{quote(path)}"

    def downloads(self) -> int:
        return self._site.visits().count(200)

    async def break_listing(self) -> None:
        self._site.answers["/"] = Answer(b"down", 500)


class DirectoryWorld(World):
    def __init__(self, root: Path) -> None:
        self.root = root / "documents"
        self.root.mkdir()

    async def put(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, "utf-8")

    async def remove(self, path: str) -> None:
        (self.root / path).unlink()

    @asynccontextmanager
    async def opened(self, **config: Any) -> AsyncGenerator[Origin]:
        yield DirectoryOrigin(DirectoryConfig(path=str(self.root), **config), [self.root.parent])

    async def break_listing(self) -> None:
        await asyncio.to_thread(shutil.rmtree, self.root)


class BucketWorld(World):
    def __init__(self, bucket: "Bucket", session: aiohttp.ClientSession) -> None:
        self._bucket = bucket
        self._session = session

    async def put(self, path: str, text: str) -> None:
        await asyncio.to_thread(self._bucket.api.put_object, Bucket=self._bucket.name, Key=path, Body=text.encode())

    async def remove(self, path: str) -> None:
        await asyncio.to_thread(self._bucket.api.delete_object, Bucket=self._bucket.name, Key=path)

    @asynccontextmanager
    async def opened(self, **config: Any) -> AsyncGenerator[Origin]:
        given = S3Config(bucket=self._bucket.name, endpoint=self._bucket.url, **config)
        yield S3Origin(given, self._bucket.secrets, self._session)

    def downloads(self) -> int:
        return sum(1 for path in self._bucket.gets if "list-type" not in path)

    async def break_listing(self) -> None:
        self._bucket.name = "no-such-bucket"


class GitWorld(World):
    def __init__(self, root: Path, url: str, repo: Repo) -> None:
        self._root = root
        self._url = url
        self._repo = repo

    async def put(self, path: str, text: str) -> None:
        file = Path(self._repo.path) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        await asyncio.to_thread(porcelain.add, self._repo, [str(file)])
        self._commit()

    async def remove(self, path: str) -> None:
        await asyncio.to_thread(porcelain.remove, self._repo, [str(Path(self._repo.path) / path)])
        self._commit()

    def _commit(self) -> None:
        porcelain.commit(self._repo, message=b"Change", author=b"A <a@example.com>", committer=b"A <a@example.com>")

    @property
    def head(self) -> str:
        return self._repo.head().decode()

    @asynccontextmanager
    async def opened(self, **config: Any) -> AsyncGenerator[Origin]:
        origin = GitOrigin(
            GitConfig(url=self._url, **config),
            {},
            self._root / "clones" / "one",
            [self._root],
            Outbound(allow_private=True),
        )
        try:
            yield origin
        finally:
            await origin.close()

    async def break_listing(self) -> None:
        self._url += "-moved"


@dataclass
class Bucket:
    """A bucket of moto's S3, whose server checks signatures. `gets` is its log."""

    url: str
    name: str
    api: Any
    secrets: dict[str, str]
    gets: list[str]


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None: ...


@contextmanager
def repositories(repos: dict[str, Repo]) -> Iterator[str]:
    """Serves repositories over smart HTTP; gives the server's URL."""
    server = make_server("127.0.0.1", 0, make_wsgi_chain(DictBackend(repos)), handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


ANYWHERE = Outbound(allow_private=True)


@asynccontextmanager
async def session(outbound: Outbound = ANYWHERE) -> AsyncIterator[aiohttp.ClientSession]:
    made = client(outbound)
    try:
        yield made
    finally:
        await made.close()


def gzipped(text: str) -> bytes:
    return gzip.compress(text.encode())


def origin_path(origin: str) -> str:
    return unquote(origin)


# --- buckets
# ------------------------------------------------------------------------------------------------------------
def listing(*keys: tuple[str, int], more: str = "") -> bytes:
    contents = "".join(
        f"<Contents><Key>{key}</Key><Size>{size}</Size><ETag>&quot;{key}-1&quot;</ETag></Contents>"
        for key, size in keys
    )
    token = f"<NextContinuationToken>{more}</NextContinuationToken>" if more else ""
    return f'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{contents}{token}</ListBucketResult>'.encode()
