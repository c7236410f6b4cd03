"""robots.txt (RFC 9309), read once per host and sync. A host without one (404) allows everything; one whose robots.txt
cannot be fetched allows nothing.
"""

from collections.abc import Sequence
from typing import Final

from protego import Protego
from yarl import URL

from stoa.sources.configs import USER_AGENT
from stoa.sources.providers.urls import canonical
from stoa.sources.providers.web import Web, WebError

READ_BYTES_MAX: Final = 512 * 1024
"""The size that the RFC requires crawlers to read at least."""
HOPS_MAX: Final = 5
DELAY_SECONDS_MAX: Final = 30.0


class Robots:
    """The rules of one host. With a `trouble` they are unknown, and nothing of the host may be fetched."""

    def __init__(self, rules: Protego | None, trouble: WebError | None = None) -> None:
        self._rules = rules
        self.trouble = trouble

    def allow(self, url: URL) -> bool:
        return self.trouble is None and (self._rules is None or bool(self._rules.can_fetch(str(url), USER_AGENT)))

    @property
    def delay_seconds(self) -> float:
        asked = self._rules.crawl_delay(USER_AGENT) if self._rules is not None else None
        return min(float(asked or 0), DELAY_SECONDS_MAX)

    @property
    def sitemaps(self) -> Sequence[str]:
        return list(self._rules.sitemaps) if self._rules is not None else []


async def robots_of(web: Web, host: URL) -> Robots:
    """`host` is any URL of it. A redirect is followed; its target gets the same outbound checks."""
    url = host.with_path("/robots.txt").with_query(None)
    for _ in range(HOPS_MAX + 1):
        try:
            answer = await web.get(url, {}, READ_BYTES_MAX)
        except WebError as error:
            return (
                Robots(None)
                if error.code == "too_large"
                else Robots(None, error if error.code == "address_refused" else _unreadable(host))
            )
        if answer.content is not None:
            with answer.content.file as file:
                return Robots(Protego.parse(file.read().decode("utf-8", "replace")))
        target = canonical(answer.headers.get("location", ""), url) if 300 <= answer.status < 400 else None
        if target is None:
            return Robots(None, _unreadable(host) if answer.status >= 500 or answer.status == 429 else None)
        url = target
    return Robots(None)


def _unreadable(host: URL) -> WebError:
    message = f"The robots.txt of {host.host} cannot be read just now, and without it nothing may be fetched."
    return WebError("robots_unreachable", message, retryable=True)
