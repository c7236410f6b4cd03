"""Where a request came from, for the audit. A context variable that the edge sets, so no function has to pass it on."""

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
"""None outside of a request: in a worker, or in the operator's command."""
