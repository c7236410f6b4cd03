"""The token endpoint of OAuth2 services, called through the guarded connector."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from stoa.outbound import Outbound, cause
from stoa.requirements.ports import ExchangeFailed
from stoa.requirements.types import Client

if TYPE_CHECKING:
    import aiohttp

SECONDS_MAX: Final = 15.0
ANSWER_BYTES_MAX: Final = 256 * 1024


class Exchanger:
    """Long-lived; `close` ends its connections."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def __call__(self, url: str, form: Mapping[str, str], client: Client, /) -> Mapping[str, Any]:
        import aiohttp  # noqa: PLC0415 — the server starts without it

        from stoa.outbound.client import BodyError, read_json  # noqa: PLC0415
        from stoa.outbound.client import client as http_client  # noqa: PLC0415

        if self._session is None:
            self._session = http_client(self._outbound, connections_max=20, headers={"Accept": "application/json"})
        try:
            async with (
                asyncio.timeout(SECONDS_MAX),
                self._session.post(
                    url, data={**form, **client.fields()}, headers=client.headers(), allow_redirects=False
                ) as response,
            ):
                answer = await read_json(response, ANSWER_BYTES_MAX)
                status = response.status
        except TimeoutError as error:
            raise ExchangeFailed("The service did not answer in time.", refused=False) from error
        except BodyError as error:
            raise ExchangeFailed(f"The service's answer {error}.", refused=False) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = cause(error) or f"it cannot be reached: {type(error).__name__}"
            raise ExchangeFailed(f"The service was not asked: {reason}", refused=False) from error
        found = cast("Mapping[str, Any]", answer) if isinstance(answer, Mapping) else {}
        if status != 200 or not isinstance(found.get("access_token"), str):
            code = str(found.get("error", status))[:100]
            raise ExchangeFailed(f"The service refused: {code}.", refused=400 <= status < 500)
        return found
