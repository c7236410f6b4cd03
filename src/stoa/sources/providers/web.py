"""HTTP requests of the crawler and the bucket reader: guarded against private addresses, bounded in time and size.
Redirects are returned, not followed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ssl import SSLContext
from typing import Final

import aiohttp
from yarl import URL

from stoa import __version__
from stoa.outbound import refused
from stoa.outbound.client import BodyError, pieces
from stoa.outbound.describing import failure
from stoa.sources.configs import USER_AGENT
from stoa.sources.providers.spool import Spool, TooLarge, too_large
from stoa.sources.types import Content

AGENT: Final = f"{USER_AGENT}/{__version__} (knowledge source)"
REQUEST_SECONDS_MAX: Final = 120.0
SILENT_SECONDS_MAX: Final = 30.0


class WebError(Exception):
    """A failed request. `retryable`: it may succeed later."""

    def __init__(self, code: str, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.code, self.message, self.retryable = code, message, retryable


@dataclass(frozen=True, slots=True)
class Answer:
    """`content` is None where the body was not read. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: Content | None

    @property
    def mime_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def retry_after_seconds(self) -> float | None:
        value = self.headers.get("retry-after", "")
        return float(value) if value.isdigit() else None


class Web:
    """`tls` None: the session's own. `authorization` is sent to `home` alone: scheme, host and port."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        tls: SSLContext | None = None,
        *,
        home: URL | None = None,
        authorization: str | None = None,
    ) -> None:
        self._session = session
        self._tls = tls or True  # True: the session's.
        self._home = home.origin() if home is not None and authorization is not None else None
        self._authorization = authorization

    async def get(
        self,
        url: URL,
        headers: Mapping[str, str],
        bytes_max: int,
        wanted: Callable[[Answer], bool] = lambda answer: answer.status == 200,
    ) -> Answer:
        """Reads the body where `wanted` returns true for the answer without one. Raises WebError."""
        host = url.host or ""
        headers = {"User-Agent": AGENT, **headers}
        if self._authorization is not None and url.origin() == self._home:
            headers["Authorization"] = self._authorization
        timeout = aiohttp.ClientTimeout(
            total=REQUEST_SECONDS_MAX, connect=SILENT_SECONDS_MAX, sock_read=SILENT_SECONDS_MAX
        )
        try:
            async with self._session.get(
                url, headers=headers, allow_redirects=False, timeout=timeout, ssl=self._tls
            ) as response:
                answer = Answer(
                    response.status, {name.lower(): value for name, value in response.headers.items()}, None
                )
                if not wanted(answer):
                    response.close()  # Closes the connection instead of waiting for an unwanted body.
                    return answer
                with Spool(bytes_max) as spool:
                    async for piece in pieces(response):
                        spool.write(piece)
                    return Answer(answer.status, answer.headers, spool.content())
        except TooLarge:
            raise WebError("too_large", too_large(str(url), bytes_max), retryable=False) from None
        except TimeoutError:
            raise WebError("origin_timeout", f"{host} did not answer in time.", retryable=True) from None
        except BodyError as error:
            raise WebError("origin_failed", f"The answer of {host} {error}.", retryable=False) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if refused(error):
                raise WebError("address_refused", failure(error, str(url)), retryable=False) from error
            raise WebError("origin_unreachable", failure(error, str(url)), retryable=True) from error
