"""Nothing that a tenant names leads inside: each spelling of a private address, on every kind of outbound call, by
address and by name."""
# ruff: noqa: RUF001 — the look-alikes are what is tried

import asyncio
import socket
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from yarl import URL

from stoa.embedding import EmbedderError, RemoteEmbedder
from stoa.embedding.reranking import RemoteReranker, RerankerError
from stoa.gateway.factory import ModelFactory
from stoa.gateway.provider_models import ProviderError
from stoa.gateway.providers.transport import Timeouts, Transport, TransportError
from stoa.gateway.types import Endpoint
from stoa.kernel.schema_checker import SchemaChecker
from stoa.outbound import Outbound, known_private, public
from stoa.outbound.client import client
from stoa.sources.providers.web import Web, WebError
from stoa.sources.repositories import reader
from stoa.tools.factory import ToolFactory
from stoa.tools.types import Call, Definition, Offer, ToolKind, Unlisted
from tests.support.listening import Listener

LOOPBACK = (
    "127.0.0.1",
    "127.0.0.2",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "0177.0.0.1",
    "0177.1",
    "017700000001",
    "0x7F.0x0.0x0.0x1",
    "00000177.0.0.1",
    "localhost",
    "LOCALHOST",
    "Localhost",
    "0.0.0.0",
    "0",
    "0.0",
    "0x0",
    "１２７.0.0.1",
    "127。0。0。1",
    "127．0．0．1",
    "127｡0｡0｡1",
    "①②⑦.0.0.1",
    "１２７。０。０。１",
    "𝟏𝟐𝟕.𝟎.𝟎.𝟏",
    "127.⁰.₀.1",
    "ｌｏｃａｌｈｏｓｔ",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "LOCALHOST",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::0001]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[::7f00:1]",
)
ELSEWHERE = (
    "10.0.0.1",
    "10.1",
    "012.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.1",
    "0xc0a80001",
    "3232235521",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "１６９.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "100.64.0.1",
    "168.63.129.16",
    "192.0.0.192",
    "198.18.0.1",
    "203.0.113.1",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "[fe80::1]",
    "[fec0::1]",
    "[fd00:ec2::254]",
    "[fc00::1]",
    "[ff02::1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::8.8.8.8]",
    "[64:ff9b:1::1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[2001:db8::1]",
    "[::ffff:8.8.8.8]",
    "[::ffff:0:127.0.0.1]",
    "[::8.8.8.8]",
    "[2606:4700::5efe:7f00:1]",
    "[100::1]",
)
REFUSED = "refused"
Attempt = Callable[[str], Awaitable[str]]
"""A URL → "refused" for a private address, else what else went wrong; never a success."""


def plain(host: str) -> bool:
    """Whether the host is an address, or localhost, once its characters are in their usual forms. Octal, hexadecimal
    and short forms are none: some clients refuse those as no URL before anything is dialled."""
    usual = unicodedata.normalize("NFKC", host).replace("。", ".").strip("[]").lower()
    try:
        return usual == "localhost" or bool(ip_address(usual))
    except ValueError:
        return False


class Inside:
    """A service on loopback that counts who comes."""

    def __init__(self) -> None:
        self.visits = 0
        self.port = 0

    async def serve(self, incoming: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()


def _both_families() -> socket.socket:
    made = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    made.setblocking(False)
    return made


@pytest.fixture
async def inside() -> AsyncIterator[Inside]:
    found = Inside()
    async with Listener(found.serve, listening=_both_families()) as listener:
        found.port = listener.port
        yield found


def definition(type_: ToolKind, config: Mapping[str, Any], offers: Sequence[Offer] | None = None) -> Definition:
    now = datetime.now(UTC)
    ids = UUID(int=1), UUID(int=2)
    return Definition(*ids, "tool", type_, "x", config, (), None, False, (), 10.0, 10_000, now, now, offers)


async def _tool(outbound: Outbound, url: str) -> str:
    tools = ToolFactory(schemas=SchemaChecker(), outbound=outbound)
    try:
        config = {"method": "GET", "url": url, "parameters": {"type": "object"}}
        [tool] = tools(definition(ToolKind.HTTP, config), {})
        result = await tool.call({}, Call(UUID(int=1), UUID(int=1), UUID(int=1), "key"))
        return REFUSED if result.code == "tool_address_refused" else str(result.code)
    finally:
        await tools.close()


async def _mcp(outbound: Outbound, url: str) -> str:
    tools = ToolFactory(schemas=SchemaChecker(), outbound=outbound)
    try:
        [tool] = tools(definition(ToolKind.MCP, {"url": url}, [Offer("touch", "x", {"type": "object"})]), {})
        result = await tool.call({}, Call(UUID(int=1), UUID(int=1), UUID(int=1), "key"))
        return REFUSED if "STOA_ALLOW_PRIVATE_ADDRESSES" in result.text else str(result.code)
    finally:
        await tools.close()


async def _document(outbound: Outbound, url: str) -> str:
    tools = ToolFactory(schemas=SchemaChecker(), outbound=outbound)
    try:
        return await tools.fetch(url)
    except Unlisted as error:
        return _sentence(error)
    finally:
        await tools.close()


async def _listing(outbound: Outbound, url: str) -> str:
    models = ModelFactory(pace=lambda: 0.0, outbound=outbound)
    try:
        return str(await models.ask_for_tenant(Endpoint("openai", url, "key")))
    except ProviderError as error:
        return _sentence(error)
    finally:
        await models.close()


async def _model(outbound: Outbound, url: str) -> str:
    transport = Transport(outbound=outbound)
    try:
        with closing(await transport.post(url, {}, b"{}", Timeouts(connect=10, first_byte=10, silence=10))) as reply:
            return f"answered {reply.status}"
    except TransportError as error:
        return _sentence(error)
    finally:
        await transport.close()


async def _embedder(outbound: Outbound, url: str) -> str:
    try:
        return str(await RemoteEmbedder(url, "m", None, outbound=outbound).embed(["text"]))
    except EmbedderError as error:
        return _sentence(error)


async def _reranker(outbound: Outbound, url: str) -> str:
    try:
        return str(await RemoteReranker(url, "m", None, outbound=outbound).rerank("query", ["text"]))
    except RerankerError as error:
        return _sentence(error)


async def _source(outbound: Outbound, url: str) -> str:
    async with client(outbound) as session:
        try:
            answer = await Web(session).get(URL(url), {}, 1_000, lambda _: False)
            return f"answered {answer.status}"
        except (WebError, ValueError) as error:
            return REFUSED if getattr(error, "code", "") == "address_refused" else str(error)


def _fetched(outbound: Outbound, url: str, home: Path) -> str:
    reader._GuardedConnections.outbound, reader._GuardedConnections.failure = outbound, None
    job = {"path": None, "home": str(home), "branch": None, "commit": None, "username": None, "token": None, "skip": 0}
    try:
        return reader.Reader({**job, "url": url}).commit
    except reader.ReaderError as error:
        return REFUSED if error.code == "address_refused" else error.message


def _sentence(error: Exception) -> str:
    return REFUSED if "STOA_ALLOW_PRIVATE_ADDRESSES" in str(error) else str(error)


KINDS: dict[str, Callable[[Outbound, str], Awaitable[str]]] = {
    "tool": _tool,
    "mcp": _mcp,
    "document": _document,
    "model list": _listing,
    "model": _model,
    "embedder": _embedder,
    "reranker": _reranker,
    "source": _source,
}


@pytest.mark.parametrize("kind", [*KINDS, "git"])
async def test_no_spelling_of_a_private_address_is_called(inside: Inside, kind: str, tmp_path: Path) -> None:
    hosts = (*LOOPBACK, *ELSEWHERE)
    assert len(set(hosts)) >= 60
    passed: dict[str, str] = {}

    async def called(number: int, host: str) -> None:
        url = f"http://{host}:{inside.port}/x"
        async with asyncio.timeout(60):
            if kind == "git":
                outcome = await asyncio.to_thread(_fetched, Outbound(), url, tmp_path / str(number))
            else:
                outcome = await KINDS[kind](Outbound(), url)
        if outcome != REFUSED and (
            host.isascii() or kind not in ("mcp", "git")
        ):  # Their clients take only plain characters for a URL.
            passed[host] = outcome

    if kind == "git":  # Its process reads from one place at a time.
        for number, host in enumerate(hosts):
            await called(number, host)
    else:  # Some try three times where a name is not found.
        await asyncio.gather(*(called(number, host) for number, host in enumerate(hosts)))
    assert inside.visits == 0
    assert {host: outcome for host, outcome in passed.items() if plain(host)} == {}


async def test_what_is_allowed_is_called(inside: Inside) -> None:
    """The table above proves nothing unless these calls go through where they may."""
    for call in KINDS.values():
        before = inside.visits
        async with asyncio.timeout(20):
            assert await call(Outbound(allow_private=True), f"http://127.0.0.1:{inside.port}/x") != REFUSED
        assert inside.visits > before, call


class Rebinding(Outbound):
    """A name that is public when it is first looked up, and private from then on."""

    looked_up = 0

    async def resolve(self, host: str, port: int) -> Any:
        Rebinding.looked_up += 1
        address = "93.184.216.34" if Rebinding.looked_up == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_name_that_changes_its_address_is_judged_when_it_is_dialled(inside: Inside, kind: str) -> None:
    Rebinding.looked_up = 0
    way = Rebinding()
    await way.check("rebinding.example", inside.port, tls=False)
    async with asyncio.timeout(20):
        assert await KINDS[kind](way, f"http://rebinding.example:{inside.port}/x") == REFUSED
    assert inside.visits == 0


def test_which_addresses_are_public() -> None:
    assert all(public(one) for one in ("8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::1"))
    assert known_private("①②⑦.0.0.1")
    assert not known_private("example.com")


@pytest.mark.parametrize("url", ["http://user:secret@127.0.0.1/x", "http://example.com@127.0.0.1:{port}/x"])
async def test_a_user_name_hides_no_host(inside: Inside, url: str) -> None:
    for name, call in KINDS.items():
        async with asyncio.timeout(20):
            outcome = await call(Outbound(), url.replace("{port}", str(inside.port)))
        assert "answered" not in outcome, name
    assert inside.visits == 0
