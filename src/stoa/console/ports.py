"""What the console is lent: sessions."""

from datetime import datetime
from typing import Protocol


class Sessions(Protocol):
    """Turns a credential into what a browser may hold."""

    async def open(self, key: str) -> tuple[str, datetime]:
        """A session's secret and its end, for an access key. Raises Unauthorized."""
        ...

    async def redeem(self, link: str) -> tuple[str, datetime]:
        """The same for a sign-in link, which works once. Raises Unauthorized."""
        ...

    async def close(self, secret: str) -> None: ...
