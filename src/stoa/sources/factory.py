"""Makes origins from sources. They share one HTTP client and this node's permissions."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from stoa.outbound import Outbound
from stoa.sources.ports import Origin
from stoa.sources.registry import PROVIDERS, NodeResources
from stoa.sources.types import Provider, Source

if TYPE_CHECKING:
    import aiohttp


class SourceFactory:
    """Long-lived; `close` ends its connections.

    Sources may read `directories`. `cache` holds clones of repositories; any of them may be deleted at any time.
    """

    def __init__(self, *, outbound: Outbound, directories: Sequence[Path], cache: Path) -> None:
        self._outbound = outbound
        self._directories = directories
        self._cache = cache
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def check(self, provider: Provider, config: Mapping[str, Any], secret_names: frozenset[str]) -> None:
        """Raises BadRequest naming the invalid field of `config` or `secrets`."""
        await PROVIDERS[provider].check(config, secret_names, self._means(self._cache))

    def origin(self, provider: Provider, config: Mapping[str, Any]) -> str | None:
        return PROVIDERS[provider].origin(config)

    @asynccontextmanager
    async def open(self, source: Source, secrets: Mapping[str, str]) -> AsyncGenerator[Origin]:
        means = self._means(self._home(source.id))
        async with PROVIDERS[source.provider].open(source.config, secrets, means) as origin:
            yield origin

    async def kept(self) -> Sequence[UUID]:
        return await asyncio.to_thread(lambda: [UUID(home.name) for home in self._cache.glob("*-*-*-*-*")])

    async def forget(self, source_id: UUID) -> None:
        """Removes this node's clone of a deleted source."""
        await asyncio.to_thread(shutil.rmtree, self._home(source_id), ignore_errors=True)

    def _home(self, source_id: UUID) -> Path:
        return self._cache / str(source_id)

    def _means(self, home: Path) -> NodeResources:
        return NodeResources(self._outbound, self._client, self._directories, home)

    def _client(self) -> "aiohttp.ClientSession":
        from stoa.outbound.client import client  # noqa: PLC0415 — the server starts without aiohttp

        if self._session is None:
            self._session = client(self._outbound)
        return self._session
