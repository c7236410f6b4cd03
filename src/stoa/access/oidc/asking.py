"""The provider's endpoints, called through the guarded connector."""

import base64
from collections.abc import Mapping
from typing import Any, Final, Protocol, cast
from urllib.parse import quote_plus

from stoa.access.oidc.errors import ProviderAway, ProviderError
from stoa.outbound import Outbound
from stoa.outbound.json_client import JsonClient, Unanswered

ANSWER_BYTES_MAX: Final = 512 * 1024


class Ask(Protocol):
    async def __call__(
        self, url: str, form: Mapping[str, str] | None = None, authorization: str | None = None, /
    ) -> tuple[int, Mapping[str, Any]]:
        """(status, JSON object) of a GET, or with a form of a POST. Raises ProviderAway and ProviderError."""
        ...


class Asking:
    """Long-lived; `close` ends its connections."""

    def __init__(self, outbound: Outbound) -> None:
        self._client = JsonClient(outbound, ANSWER_BYTES_MAX)
        self.close = self._client.close

    async def __call__(
        self, url: str, form: Mapping[str, str] | None = None, authorization: str | None = None, /
    ) -> tuple[int, Mapping[str, Any]]:
        headers = {"Authorization": authorization} if authorization else None
        try:
            status, answer = await self._client.ask(url, form, headers)
        except Unanswered as error:
            raise ProviderAway(f"it {error}") from error
        if status >= 500 or not isinstance(answer, Mapping):
            raise ProviderAway(f"it answered {status}")
        if form is None and status != 200:
            raise ProviderError(f"it answered {status}")
        return status, cast("Mapping[str, Any]", answer)


def basic(client_id: str, secret: str) -> str:
    """Both are percent-encoded first (RFC 6749, 2.3.1), because a colon would end the name."""
    return "Basic " + base64.b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode()
