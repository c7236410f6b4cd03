"""The table of source providers: the model of its config, the names of its secrets, its check and its reader.

A new provider is a row here, its reader in `providers/`, its name in `types.Provider` and its body in `wire`.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from stoa.kernel.errors import BadRequest
from stoa.outbound import PRIVATE, Outbound, known_private, origin_of
from stoa.sources import configs
from stoa.sources.ports import Origin
from stoa.sources.providers.directory import DirectoryOrigin, allowed
from stoa.sources.providers.git import GitOrigin, local_path
from stoa.sources.types import Provider, SourceError

if TYPE_CHECKING:
    import aiohttp


@dataclass(frozen=True, slots=True)
class NodeResources:
    """What readers may use of this node. In `home` a reader may keep files between two syncs."""

    outbound: Outbound
    session: "Callable[[], aiohttp.ClientSession]"
    directories: Sequence[Path]
    home: Path


Config = Mapping[str, Any]
Check = Callable[[Config, frozenset[str], NodeResources], Awaitable[None]]
"""(config, names of the secrets, means).

Raises BadRequest naming the field. Host names are resolved only when they are called.
"""
Open = Callable[[Config, Mapping[str, str], NodeResources], AbstractAsyncContextManager[Origin]]
"""(config, secrets, means) → a reader for one walk."""


@dataclass(frozen=True, slots=True)
class Registered:
    """One provider. `origin` returns scheme, host and port of the server that receives the secrets; None if they are
    sent to none."""

    config: type[configs.Config]
    secrets: type[configs.Config]
    help: str
    origin: Callable[[Config], str | None]
    check: Check
    open: Open


# --- checks ---------------------------------------------------------------------------------------------------------
def _check_address(url: str | None, field: str, means: NodeResources) -> None:
    if not means.outbound.allow_private and known_private(urlsplit(url or "").hostname or ""):
        raise BadRequest.field(field, f"is a {PRIVATE}")


async def _check_directory(path: str, field: str, means: NodeResources) -> None:
    try:
        await asyncio.to_thread(allowed, path, means.directories)
    except SourceError as error:
        raise BadRequest.field(field, f"cannot be used: {error.message}") from error


async def _check_website(config: Config, _: frozenset[str], means: NodeResources) -> None:
    _check_address(config["url"], "config.url", means)


async def _check_path(config: Config, _: frozenset[str], means: NodeResources) -> None:
    await _check_directory(config["path"], "config.path", means)


async def _check_bucket(config: Config, secret_names: frozenset[str], means: NodeResources) -> None:
    _check_address(config["endpoint"], "config.endpoint", means)
    for one, other in (
        ("access_key_id", "secret_access_key"),
        ("secret_access_key", "access_key_id"),
        ("session_token", "access_key_id"),
    ):
        if one in secret_names and other not in secret_names:
            raise BadRequest.field(f"secrets.{other}", f"is needed with {one}")


async def _check_repository(config: Config, _: frozenset[str], means: NodeResources) -> None:
    if config["url"].startswith("file:"):
        await _check_directory(local_path(config["url"]), "config.url", means)
    else:
        _check_address(config["url"], "config.url", means)


# --- readers --------------------------------------------------------------------------------------------------------
@asynccontextmanager
async def _open_website(config: Config, secrets: Mapping[str, str], means: NodeResources) -> AsyncGenerator[Origin]:
    from stoa.sources.providers.website import WebsiteOrigin  # noqa: PLC0415 — the server starts without aiohttp

    tls = (await means.outbound.trusting(config.get("ca_bundle"))).tls()
    yield WebsiteOrigin(configs.WebsiteConfig.model_validate(config), secrets, means.session(), tls)


@asynccontextmanager
async def _open_directory(config: Config, _: Mapping[str, str], means: NodeResources) -> AsyncGenerator[Origin]:
    yield DirectoryOrigin(configs.DirectoryConfig.model_validate(config), means.directories)


@asynccontextmanager
async def _open_bucket(config: Config, secrets: Mapping[str, str], means: NodeResources) -> AsyncGenerator[Origin]:
    from stoa.sources.providers.s3 import S3Origin  # noqa: PLC0415 — the server starts without aiohttp

    tls = (await means.outbound.trusting(config.get("ca_bundle"))).tls()
    yield S3Origin(configs.S3Config.model_validate(config), secrets, means.session(), tls)


@asynccontextmanager
async def _open_repository(config: Config, secrets: Mapping[str, str], means: NodeResources) -> AsyncGenerator[Origin]:
    outbound = await means.outbound.trusting(config.get("ca_bundle"))
    made = GitOrigin(configs.GitConfig.model_validate(config), secrets, means.home, means.directories, outbound)
    try:
        yield made
    finally:
        await made.close()


PROVIDERS: Final[Mapping[Provider, Registered]] = {
    Provider.WEBSITE: Registered(
        configs.WebsiteConfig,
        configs.WebsiteSecrets,
        "the pages of a site, by its sitemaps and links",
        lambda config: origin_of(config["url"]),
        _check_website,
        _open_website,
    ),
    Provider.DIRECTORY: Registered(
        configs.DirectoryConfig,
        configs.DirectorySecrets,
        "the files of a directory on the server",
        lambda _: None,
        _check_path,
        _open_directory,
    ),
    Provider.S3: Registered(
        configs.S3Config,
        configs.S3Secrets,
        "the objects of a bucket of Amazon S3, or of what speaks its protocol",
        lambda config: origin_of(config["endpoint"] or "https://s3.amazonaws.com"),
        _check_bucket,
        _open_bucket,
    ),
    Provider.GIT: Registered(
        configs.GitConfig,
        configs.GitSecrets,
        "the files of a branch of a repository",
        lambda config: origin_of(config["url"]),
        _check_repository,
        _open_repository,
    ),
}
