"""Where a request came from, for the audit. Set at the edge, so that nothing below has to hand it on."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Origin:
    request_id: str
    method: str
    path: str
    """Without secrets."""
    address: str | None
    """Of the client, or of the proxy before this server."""
    client: str | None
    """Its User-Agent."""


ORIGIN: Final[ContextVar[Origin | None]] = ContextVar("stoa.origin", default=None)
"""None where no request is at work: a worker, the operator's command."""
