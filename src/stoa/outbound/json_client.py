"""A client for JSON endpoints, by form or GET: token endpoints, identity providers."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from stoa.outbound.dialing import Outbound

if TYPE_CHECKING:
    import aiohttp

SECONDS_MAX: Final = 15.0
CONNECTIONS_MAX: Final = 20


class Unanswered(Exception):
    """There is no readable response. The message continues after the server's name: "did not answer in time"."""


class JsonClient:
    """Long-lived; `close` ends its connections. It follows no redirect."""

    def __init__(self, outbound: Outbound, answer_bytes_max: int) -> None:
        self._outbound = outbound
        self._answer_bytes_max = answer_bytes_max
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(
        self, url: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """(status, JSON value) of a GET, or with a form of a POST. Raises Unanswered."""
        import aiohttp  # noqa: PLC0415 — the server starts without it

        from stoa.outbound.client import BodyError, client, read_json  # noqa: PLC0415
        from stoa.outbound.describing import failure  # noqa: PLC0415

        if self._session is None:
            accept = {"Accept": "application/json"}
            self._session = client(self._outbound, connections_max=CONNECTIONS_MAX, headers=accept)
        method = "GET" if form is None else "POST"
        try:
            async with (
                asyncio.timeout(SECONDS_MAX),
                self._session.request(method, url, data=form, headers=headers, allow_redirects=False) as response,
            ):
                return response.status, await read_json(response, self._answer_bytes_max)
        except TimeoutError as error:
            raise Unanswered("did not answer in time") from error
        except BodyError as error:
            raise Unanswered(f"gave an answer that {error}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unanswered(f"was not asked: {failure(error, url).rstrip('.')}") from error
