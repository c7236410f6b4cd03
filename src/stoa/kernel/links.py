"""Links to a thing: a signed, short-lived right to download it, for a browser or a service that sends no header.

A link names the credential that it was made with, so revoking that ends its links too.
"""

import base64
import hashlib
import hmac
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from stoa.kernel.clock import Clock
from stoa.kernel.errors import Unauthorized

LINK_SECONDS: Final = 600
_REFUSED: Final = "This link is not valid here, or has expired; ask for a new one."


class SignedLinks:
    """Of one kind of things, which `purpose` names."""

    def __init__(self, secret: bytes, clock: Clock, purpose: bytes) -> None:
        self._secret = hashlib.sha256(purpose + secret).digest()
        self._clock = clock

    def issue(self, thing_id: UUID, key_id: UUID) -> tuple[str, datetime]:
        """(ticket, when it ends)."""
        ends = (self._clock.now() + timedelta(seconds=LINK_SECONDS)).replace(microsecond=0)
        claim = key_id.bytes + int(ends.timestamp()).to_bytes(6, "big")
        return base64.urlsafe_b64encode(claim + self._sign(thing_id, claim)).decode().rstrip("="), ends

    def key_of(self, thing_id: UUID, ticket: str) -> UUID:
        """The credential that the ticket was made with. Raises Unauthorized."""
        try:
            raw = base64.urlsafe_b64decode(ticket + "=" * (-len(ticket) % 4))
        except ValueError as error:
            raise Unauthorized(_REFUSED) from error
        claim, signature = raw[:22], raw[22:]
        genuine = hmac.compare_digest(signature, self._sign(thing_id, claim))
        if not genuine or int.from_bytes(claim[16:22], "big") < self._clock.now().timestamp():
            raise Unauthorized(_REFUSED)
        return UUID(bytes=claim[:16])

    def _sign(self, thing_id: UUID, claim: bytes) -> bytes:
        return hmac.digest(self._secret, thing_id.bytes + claim, "sha256")
