"""Calls the token endpoints of OAuth2 services through the guarded connector."""

from collections.abc import Mapping
from typing import Any, Final, cast

from stoa.outbound import Outbound
from stoa.outbound.json_client import JsonClient, Unanswered
from stoa.requirements.ports import ExchangeFailed
from stoa.requirements.types import Client

ANSWER_BYTES_MAX: Final = 256 * 1024


class Exchanger:
    """Keeps connections open until `close`."""

    def __init__(self, outbound: Outbound) -> None:
        self._client = JsonClient(outbound, ANSWER_BYTES_MAX)
        self.close = self._client.close

    async def __call__(self, url: str, form: Mapping[str, str], client: Client, /) -> Mapping[str, Any]:
        try:
            status, answer = await self._client.ask(url, {**form, **client.fields()}, client.headers())
        except Unanswered as error:
            raise ExchangeFailed(f"The service {error}.", refused=False) from error
        found = cast("Mapping[str, Any]", answer) if isinstance(answer, Mapping) else {}
        if status != 200 or not isinstance(found.get("access_token"), str):
            code = str(found.get("error", status))[:100]
            raise ExchangeFailed(f"The service refused: {code}.", refused=400 <= status < 500)
        return found
