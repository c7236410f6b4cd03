"""The HTTP client for everything but model calls. Its connections are opened by `Outbound.connect`, as all are.

It does not follow redirects: a caller that wants to follow one makes a new request, whose address is checked again. A
module of its own, because aiohttp takes long to import: it is imported at the first outbound call."""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler

from stoa.outbound.bodies import READ_BYTES, BodyError, charset_of, decoded, parse_json, pieces, read_bounded, read_json
from stoa.outbound.dialing import Outbound
from stoa.outbound.errors import Untrusted

__all__ = [
    "READ_BYTES",
    "BodyError",
    "charset_of",
    "client",
    "decoded",
    "parse_json",
    "pieces",
    "read_bounded",
    "read_json",
]

CONNECT_SECONDS_MAX: Final = 30.0
HEADER_BYTES_MAX: Final = 32 * 1024
HEADERS_MAX: Final = 200


def client(
    outbound: Outbound,
    *,
    connections_max: int = 200,
    seconds_max: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> aiohttp.ClientSession:
    """A client without cookies, decompression (see `bodies`), retries and timeouts, which its users set themselves."""
    session = aiohttp.ClientSession(
        connector=_Connector(outbound, connections_max),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=seconds_max, connect=CONNECT_SECONDS_MAX),
        headers={"Accept-Encoding": "gzip, deflate", **(headers or {})},
        max_line_size=HEADER_BYTES_MAX,
        max_field_size=HEADER_BYTES_MAX,
        max_headers=HEADERS_MAX,
    )
    # aiohttp would resend a GET, PUT or DELETE when its connection drops; only the ledger decides whether a call may be
    # repeated.
    session._retry_connection = False  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return session


class _Unresolved(AbstractResolver):
    """Does not resolve names: `Outbound.connect` does."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=host, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        pass


class _Connector(aiohttp.TCPConnector):
    """aiohttp's connection pool; each connection is opened by `Outbound.connect`."""

    def __init__(self, outbound: Outbound, connections_max: int) -> None:
        super().__init__(
            resolver=_Unresolved(), limit=connections_max, use_dns_cache=False, ssl=outbound.tls(), force_close=False
        )
        self._outbound = outbound

    async def _wrap_create_connection(
        self,
        *args: Any,
        addr_infos: list[Any],  # noqa: ARG002 — what aiohttp would dial; the guard decides on the request's own host
        req: aiohttp.ClientRequest,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 — aiohttp's name
        client_error: type[Exception] = aiohttp.ClientConnectorError,
        **kwargs: Any,
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        """The step of aiohttp's connector that opens a socket and speaks TLS over it."""
        host, port = req.url.raw_host or "", req.port
        assert port is not None
        try:
            async with asyncio.timeout(timeout.sock_connect):
                sock = await self._outbound.connect(host, port, tls=req.is_ssl())
                try:
                    return await asyncio.get_running_loop().create_connection(*args, **kwargs, sock=sock)
                except BaseException:
                    sock.close()
                    raise
        except ssl.SSLCertVerificationError as error:
            raise aiohttp.ClientConnectorCertificateError(req.connection_key, error) from Untrusted(host, error)
        except ssl.SSLError as error:
            raise aiohttp.ClientConnectorSSLError(req.connection_key, error) from error
        except TimeoutError:
            raise
        except OSError as error:
            raise client_error(req.connection_key, error) from error
