"""Calls through a proxy: which one, what it is asked for, and how its refusals are told."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress

import pytest

from stoa.embedding import EmbedderError, RemoteEmbedder
from stoa.gateway.providers.transport import Timeouts, Transport, TransportError
from stoa.outbound import AddressRefused, Outbound, Proxies, Proxy, ProxyFailed, ProxySettingError
from stoa.outbound.client import client
from tests.support.listening import Listener


class FakeProxy:
    """Takes CONNECT, remembers what for, and leads every tunnel to `target`."""

    def __init__(self) -> None:
        self.port = self.target = 0
        self.heads: list[str] = []
        self.answer = b"HTTP/1.1 200 Connection established\r\n\r\n"

    async def serve(self, incoming: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            self.heads.append((await incoming.readuntil(b"\r\n\r\n")).decode())
            writer.write(self.answer)
            if b" 200 " not in self.answer:
                writer.close()
                return
            behind, to_behind = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(self._pump(incoming, to_behind), self._pump(behind, writer))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()


async def _service(incoming: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError):
        head = await incoming.readuntil(b"\r\n\r\n")
        assert b"Proxy-Authorization" not in head, "what the proxy is told is not for the service"
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi")
    writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[FakeProxy]:
    made = FakeProxy()
    async with Listener(_service) as service, Listener(made.serve) as listener:
        made.target = service.port
        made.port = listener.port
        yield made


def through(proxy: FakeProxy, credential: str = "", **fields: object) -> Outbound:
    url = f"http://{credential}127.0.0.1:{proxy.port}"
    return Outbound(proxies=Proxies.of(url, url, None), **fields)  # type: ignore[arg-type]


async def streamed(outbound: Outbound, url: str) -> str:
    transport = Transport(outbound=outbound)
    try:
        with closing(await transport.post(url, {}, b"{}", Timeouts(connect=5, first_byte=5, silence=5))) as reply:
            return (await reply.read(100)).decode()
    finally:
        await transport.close()


async def fetched(outbound: Outbound, url: str) -> str:
    async with client(outbound, seconds_max=5) as session, session.get(url) as response:
        return await response.text()


CLIENTS: tuple[Callable[[Outbound, str], Awaitable[str]], ...] = (streamed, fetched)


@pytest.mark.parametrize("call", CLIENTS)
async def test_every_client_goes_through_the_proxy(
    proxy: FakeProxy, call: Callable[[Outbound, str], Awaitable[str]]
) -> None:
    """The operator's own endpoints by name: only the proxy may know it."""
    assert await call(through(proxy, "ada:s%40crets@", allow_private=True), "http://models.example:8000/v1") == "hi"
    lines = proxy.heads[0].split("\r\n")
    assert lines[0] == "CONNECT models.example:8000 HTTP/1.1"
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'ada:s@crets').decode()}" in lines


@pytest.mark.parametrize("call", CLIENTS)
async def test_calls_of_tenants_go_to_the_checked_address(
    proxy: FakeProxy, call: Callable[[Outbound, str], Awaitable[str]]
) -> None:
    assert await call(through(proxy), "http://93.184.216.34:8000/v1") == "hi"
    assert proxy.heads[0].startswith("CONNECT 93.184.216.34:8000 ")
    for host in ("127.0.0.1", "localhost", "169.254.169.254", "2130706433", "①②⑦.0.0.1"):
        with pytest.raises((TransportError, OSError, ValueError)):
            await call(through(proxy), f"http://{host}:8000/v1")
    for host in ("127.0.0.1", "2130706433", "0x7f.1", "１２７.0.0.1"):  # noqa: RUF001 — the look-alikes are what is tried
        with pytest.raises(AddressRefused):
            await through(proxy, proxy_resolves=True).connect(host, 80, tls=False)
    assert len(proxy.heads) == 1, "the proxy was asked for nothing private"


async def test_an_unresolvable_name_is_left_to_a_resolving_proxy(proxy: FakeProxy) -> None:
    with pytest.raises(ProxyFailed, match="STOA_PROXY_RESOLVES"):
        await through(proxy).connect("no-such-name.invalid", 443, tls=True)
    assert proxy.heads == []
    (await through(proxy, proxy_resolves=True).connect("no-such-name.invalid", 443, tls=True)).close()
    assert proxy.heads[0].startswith("CONNECT no-such-name.invalid:443 ")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "wants a user name and password"),
        (b"HTTP/1.0 403 Forbidden\r\nX: y\r\n\r\n", r"refused to connect to models.example:80 \(it answered 403\)"),
        (b"nonsense\r\n\r\n", "it answered nonsense"),
        (b"", "did not answer as a proxy does"),
        (b"x" * 40_000, "did not answer as a proxy does"),
    ],
)
async def test_a_refusal_of_a_proxy_names_the_proxy(proxy: FakeProxy, answer: bytes, said: str) -> None:
    proxy.answer = answer
    with pytest.raises(TransportError, match=f"The proxy 127.0.0.1:{proxy.port} .*{said}"):
        await streamed(through(proxy, allow_private=True), "http://models.example/v1")
    with pytest.raises(EmbedderError, match=said):
        await RemoteEmbedder("http://models.example", "m", None, outbound=through(proxy, allow_private=True)).prepare()


async def test_an_unreachable_proxy() -> None:
    proxies = Proxies.of("http://127.0.0.1:9", "http://127.0.0.1:9", None)
    with pytest.raises(TransportError, match=r"The proxy 127\.0\.0\.1:9 cannot be reached"):
        await streamed(Outbound(allow_private=True, proxies=proxies), "http://models.example/v1")


@pytest.mark.parametrize(
    ("no_proxy", "direct", "proxied"),
    [
        ("example.com", ("example.com", "a.example.com", "EXAMPLE.com."), ("notexample.com", "example.org")),
        (".example.com, *.example.org", ("a.example.com", "example.com", "b.example.org"), ("example.net",)),
        ("10.0.0.0/8,192.168.1.5", ("10.9.9.9", "192.168.1.5"), ("11.0.0.1", "192.168.1.6")),
        ("example.com:443,::1", ("example.com", "::1"), ("example.org",)),
        ("example.com:80", (), ("example.com",)),
        ("*", ("anything", "1.2.3.4"), ()),
        ("example.com  10.0.0.1", ("example.com", "10.0.0.1"), ("example.org",)),
        (" , ", (), ("example.com",)),
    ],
)
def test_which_hosts_are_called_directly(no_proxy: str, direct: tuple[str, ...], proxied: tuple[str, ...]) -> None:
    proxies = Proxies.of("http://p:1", None, no_proxy)
    assert [host for host in direct if proxies.choose(host, 443, tls=True) is not None] == []
    assert [host for host in proxied if proxies.choose(host, 443, tls=True) is None] == []
    assert proxies.choose("other.example", 80, tls=False) is None, "no proxy for http:// is set"


def test_settings_of_proxies() -> None:
    assert Proxy.of("proxy.example") == Proxy("proxy.example", 3128)
    for wrong in ("socks5://p:1", "https://p:1", "http://p:port"):
        with pytest.raises(ProxySettingError):
            Proxy.of(wrong)


def test_outbound_settings_reach_another_process() -> None:
    way = Outbound(proxies=Proxies.of("http://u:p@p:1", None, "a,b"), ca_file="/x")
    assert Outbound.of_json(way.to_json()) == way
