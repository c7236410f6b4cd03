"""The ports of access."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from stoa.access.types import Dependent
from stoa.db import Tx


class Dependents(Protocol):
    """Objects that act as a key: triggers."""

    async def of(self, tx: Tx, org_id: UUID, key_ids: Sequence[UUID], /) -> Sequence[Dependent]: ...

    async def hand_over(self, tx: Tx, org_id: UUID, key_id: UUID, successor_id: UUID, /) -> None:
        """They act as the successor from now on."""
        ...


class NoDependents:
    """No object acts as a key."""

    async def of(self, tx: Tx, org_id: UUID, key_ids: Sequence[UUID], /) -> Sequence[Dependent]:  # noqa: ARG002
        return ()

    async def hand_over(self, tx: Tx, org_id: UUID, key_id: UUID, successor_id: UUID, /) -> None: ...


class Mail(Protocol):
    async def send(self, to: str, subject: str, text: str) -> bool:
        """Hands a message to a mail server; False where none is configured. Raises nothing."""
        ...


class NoMail:
    """No mail server is configured: the inviting user has to deliver the token."""

    async def send(self, to: str, subject: str, text: str) -> bool:  # noqa: ARG002 - it sends nothing
        return False
