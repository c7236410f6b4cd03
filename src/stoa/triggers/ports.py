"""What triggers ask of their neighbours."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias
from uuid import UUID

from stoa.db import Tx
from stoa.kernel.principal import Principal

Settle: TypeAlias = Callable[[Tx, UUID], Awaitable[None]]
"""Given the transaction in which a run begins, and the run's id. What it raises rolls the run back."""


class Runner(Protocol):
    """What triggers ask of runs."""

    async def start(
        self,
        principal: Principal,
        app_id: UUID,
        fields: Mapping[str, Any],
        metadata: Mapping[str, Any],
        settle: Settle,
        /,
    ) -> None:
        """Begins a run of an app; `settle` is called in the same transaction. Raises an AppError where the app takes no
        run, and what `settle` raises."""
        ...


class Actors(Protocol):
    """What triggers ask of access."""

    async def acting(
        self, org_id: UUID, project_id: UUID, actor_id: UUID, user: bool, permission: str, /
    ) -> Principal | None:
        """The principal for a run in the name of a key or a user; None once it is revoked, has expired, or lacks the
        permission in this project."""
        ...


class Vault(Protocol):
    """Encrypts what may not be read in the database; each value opens for its row alone."""

    def seal(self, row_id: UUID, plain: str) -> bytes: ...

    def open(self, row_id: UUID, sealed: bytes) -> str: ...
