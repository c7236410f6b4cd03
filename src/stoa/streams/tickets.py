"""Stream tickets: a signed, short-lived right to read one run's stream, for clients that cannot send a header.

A browser's EventSource sends no Authorization header. Its backend asks for a ticket with the access key and hands the
page a URL that opens this one stream and nothing else, for an hour. A ticket names the key it was made with, so
revoking the key ends its tickets too.
"""

import base64
import hashlib
import hmac
from typing import Final
from uuid import UUID

from stoa.kernel.clock import Clock
from stoa.kernel.errors import Unauthorized

TICKET_SECONDS: Final = 3600
_REFUSED: Final = "This stream ticket is not valid here, or has expired; ask for a new one."


class Tickets:
    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._secret = hashlib.sha256(b"stoa stream tickets\n" + secret).digest()
        self._clock = clock

    def issue(self, run_id: UUID, key_id: UUID) -> str:
        expires = int(self._clock.now().timestamp()) + TICKET_SECONDS
        claim = key_id.bytes + expires.to_bytes(6, "big")
        return base64.urlsafe_b64encode(claim + self._sign(run_id, claim)).decode().rstrip("=")

    def key_of(self, run_id: UUID, ticket: str) -> UUID:
        """The access key that the ticket was made with. Raises Unauthorized."""
        try:
            raw = base64.urlsafe_b64decode(ticket + "=" * (-len(ticket) % 4))
        except ValueError as error:
            raise Unauthorized(_REFUSED) from error
        claim, signature = raw[:22], raw[22:]
        genuine = hmac.compare_digest(signature, self._sign(run_id, claim))
        if not genuine or int.from_bytes(claim[16:22], "big") < self._clock.now().timestamp():
            raise Unauthorized(_REFUSED)
        return UUID(bytes=claim[:16])

    def _sign(self, run_id: UUID, claim: bytes) -> bytes:
        return hmac.digest(self._secret, run_id.bytes + claim, "sha256")
