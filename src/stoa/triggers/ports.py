"""The ports of triggers."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias
from uuid import UUID

from stoa.db import Tx
from stoa.kernel.principal import Principal

Settle: TypeAlias = Callable[[Tx, UUID], Awaitable[None]]
"""Called in the transaction that starts a run, with the run's id. An exception rolls the run back."""


class Runner(Protocol):
    """The port for runs."""

    async def start(
        self,
        principal: Principal,
        app_id: UUID,
        fields: Mapping[str, Any],
        metadata: Mapping[str, Any],
        settle: Settle,
        /,
    ) -> None:
        """Starts a run of an app; `settle` is called in the same transaction. Raises an AppError if the app accepts no
        run, and the errors of `settle`."""
        ...


class Actors(Protocol):
    """The port for access."""

    async def acting(
        self, org_id: UUID, project_id: UUID, actor_id: UUID, user: bool, permission: str, /
    ) -> Principal | None:
        """The principal of a trigger's key or user; None once it is revoked, has expired, or lacks the permission in
        this project."""
        ...


class Vault(Protocol):
    """Encrypts secrets in rows; each value can be decrypted only for its own row."""

    def seal(self, row_id: UUID, plain: str) -> bytes: ...

    def open(self, row_id: UUID, sealed: bytes) -> str: ...
