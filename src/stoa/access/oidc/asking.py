"""The provider's endpoints, called through the guarded connector."""

import asyncio
import base64
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import quote_plus

import aiohttp

from stoa.access.oidc.errors import ProviderAway, ProviderError
from stoa.outbound import Outbound, cause
from stoa.outbound.client import BodyError, client, read_json

SECONDS_MAX: Final = 15.0
ANSWER_BYTES_MAX: Final = 512 * 1024


class Ask(Protocol):
    async def __call__(
        self, url: str, form: Mapping[str, str] | None = None, authorization: str | None = None, /
    ) -> tuple[int, Mapping[str, Any]]:
        """(status, JSON object) of a GET, or with a form of a POST. Raises ProviderAway and ProviderError."""
        ...


class Asking:
    """Long-lived; `close` ends its connections. It follows no redirect."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def __call__(
        self, url: str, form: Mapping[str, str] | None = None, authorization: str | None = None, /
    ) -> tuple[int, Mapping[str, Any]]:
        if self._session is None:
            self._session = client(self._outbound, connections_max=10, headers={"Accept": "application/json"})
        method, headers = "GET" if form is None else "POST", {"Authorization": authorization} if authorization else {}
        try:
            async with (
                asyncio.timeout(SECONDS_MAX),
                self._session.request(method, url, data=form, headers=headers, allow_redirects=False) as response,
            ):
                answer, status = await read_json(response, ANSWER_BYTES_MAX), response.status
        except TimeoutError as error:
            raise ProviderAway("it did not answer in time") from error
        except BodyError as error:
            raise ProviderAway(f"its answer {error}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ProviderAway(f"it was not asked: {cause(error) or type(error).__name__}") from error
        if status >= 500 or not isinstance(answer, Mapping):
            raise ProviderAway(f"it answered {status}")
        if method == "GET" and status != 200:
            raise ProviderError(f"it answered {status}")
        return status, answer


def basic(client_id: str, secret: str) -> str:
    """Both are percent-encoded first (RFC 6749, 2.3.1): a colon in a secret would end the name otherwise."""
    return "Basic " + base64.b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode()
