"""Makes origins out of sources: one HTTP client for all of them, and what this node's operator allows."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

from stoa.kernel.errors import BadRequest
from stoa.outbound import PRIVATE, Outbound, known_private
from stoa.sources.configs import DirectoryConfig, GitConfig, S3Config, WebsiteConfig
from stoa.sources.ports import Origin
from stoa.sources.providers.directory import DirectoryOrigin, allowed
from stoa.sources.providers.git import GitOrigin, local_path
from stoa.sources.types import Provider, Source, SourceError

if TYPE_CHECKING:
    import aiohttp


class SourceFactory:
    """Long-lived; `close` ends its connections.

    `directories` may be read; clones of repositories lie in `cache`, where any may be removed.
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
        """Raises BadRequest naming the field of `config` or `secrets` that cannot be.

        A host is resolved when it is called, not here.
        """
        match provider:
            case Provider.DIRECTORY:
                await self._check_directory(config["path"], "config.path")
            case Provider.GIT if config["url"].startswith("file:"):
                await self._check_directory(local_path(config["url"]), "config.url")
            case Provider.S3:
                self._check_address(config["endpoint"], "config.endpoint")
                for one, other in (
                    ("access_key_id", "secret_access_key"),
                    ("secret_access_key", "access_key_id"),
                    ("session_token", "access_key_id"),
                ):
                    if one in secret_names and other not in secret_names:
                        raise BadRequest.field(f"secrets.{other}", f"is needed with {one}")
            case Provider.WEBSITE | Provider.GIT:
                self._check_address(config["url"], "config.url")

    async def _check_directory(self, path: str, field: str) -> None:
        try:
            await asyncio.to_thread(allowed, path, self._directories)
        except SourceError as error:
            raise BadRequest.field(field, f"cannot be used: {error.message}") from error

    def _check_address(self, url: str | None, field: str) -> None:
        if not self._outbound.allow_private and known_private(urlsplit(url or "").hostname or ""):
            raise BadRequest.field(field, f"is a {PRIVATE}")

    @asynccontextmanager
    async def open(self, source: Source, secrets: Mapping[str, str]) -> AsyncGenerator[Origin]:
        match source.provider:
            case Provider.DIRECTORY:
                yield DirectoryOrigin(DirectoryConfig.model_validate(source.config), self._directories)
            case Provider.WEBSITE:
                from stoa.sources.providers.website import WebsiteOrigin  # noqa: PLC0415 — the server starts without aiohttp

                yield WebsiteOrigin(
                    WebsiteConfig.model_validate(source.config),
                    secrets,
                    self._client(),
                )
            case Provider.S3:
                from stoa.sources.providers.s3 import S3Origin  # noqa: PLC0415 — the same

                yield S3Origin(S3Config.model_validate(source.config), secrets, self._client())
            case Provider.GIT:
                origin = GitOrigin(
                    GitConfig.model_validate(source.config),
                    secrets,
                    self._home(source.id),
                    self._directories,
                    self._outbound,
                )
                try:
                    yield origin
                finally:
                    await origin.close()

    async def kept(self) -> Sequence[UUID]:
        return await asyncio.to_thread(lambda: [UUID(home.name) for home in self._cache.glob("*-*-*-*-*")])

    async def forget(self, source_id: UUID) -> None:
        """The clone that this node kept for a source that is gone."""
        await asyncio.to_thread(shutil.rmtree, self._home(source_id), ignore_errors=True)

    def _home(self, source_id: UUID) -> Path:
        return self._cache / str(source_id)

    def _client(self) -> "aiohttp.ClientSession":
        from stoa.outbound.client import client  # noqa: PLC0415 — the server starts without aiohttp

        if self._session is None:
            self._session = client(self._outbound)
        return self._session
