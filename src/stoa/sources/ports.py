"""What sources need of other slices."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol
from uuid import UUID

from stoa.kernel.principal import Principal
from stoa.sources.types import Finding, Known, NewDocument, Provider, Source

Remember = Callable[[Sequence[str]], Awaitable[Sequence[Known]]]
"""Returns what is stored about these addresses, in their order."""


class Origin(Protocol):
    """A collection of documents outside of Stoa. One `walk` per sync; the caller that opened the origin closes it."""

    def walk(self, remember: Remember) -> AsyncGenerator[Finding]:
        """Every document of the origin, each address once, in batches.

        An address that is `done` is not reported again. An unchanged document is reported as `Unchanged` and not
        downloaded. A walk that ends without `Incomplete` has named everything: what it did not name no longer exists.
        Raises SourceError when that cannot be known.
        """
        ...


class Origins(Protocol):
    """Makes origins from sources."""

    async def check(self, provider: Provider, config: Mapping[str, Any], secret_names: frozenset[str]) -> None:
        """Raises BadRequest naming the invalid field of `config` or `secrets`."""
        ...

    def origin(self, provider: Provider, config: Mapping[str, Any]) -> str | None:
        """Scheme, host and port of the server that receives the secrets; None if they are sent to none."""
        ...

    def open(self, source: Source, secrets: Mapping[str, str]) -> AbstractAsyncContextManager[Origin]: ...

    async def kept(self) -> Sequence[UUID]:
        """The sources that this node has files of."""
        ...

    async def forget(self, source_id: UUID) -> None:
        """Removes this node's files of a deleted source."""
        ...


class Items(Protocol):
    """The items of the base that a source fills."""

    async def store(self, principal: Principal, base_id: UUID, document: NewDocument, /) -> None:
        """Raises BadRequest or NotFound; the base may be gone."""
        ...

    async def set_metadata(
        self, principal: Principal, base_id: UUID, item_id: UUID, metadata: Mapping[str, Any], /
    ) -> None:
        """Raises NotFound."""
        ...


class Deletions(Protocol):
    async def delete_items(self, principal: Principal, base_id: UUID, item_ids: Sequence[UUID], /) -> UUID:
        """Raises NotFound when all of them are deleted already."""
        ...


class Vault(Protocol):
    """Encrypts secrets that are stored in rows. `open` raises ValueError for a secret that was stored under another
    key."""

    def seal(self, row_id: UUID, plain: str) -> bytes: ...

    def open(self, row_id: UUID, sealed: bytes) -> str: ...
