"""Opens the stores for the contents of files: directories below the data directory, or a bucket."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from stoa.app.choices import plain
from stoa.app.outbound import outbound_of
from stoa.db.blobs import BlobStore, DirectoryBlobs
from stoa.http.component import Component, Started
from stoa.outbound import Outbound
from stoa.settings import Settings, SettingsError, bucket_keys
from stoa.storage import (
    Bucket,
    BucketAddress,
    BucketBlobs,
    BucketConnection,
    BucketRefused,
    Copies,
    Keys,
    UnfinishedUploads,
    bucket_checks,
    failures,
    prove,
)

KINDS: Final = ("blobs", "knowledge", "artifacts")
"""Files of conversations, of knowledge bases, and artifacts, each in a directory or under a prefix of the bucket."""
COPIES: Final = "copies"
"""Below the data directory: local copies for the document readers, while they read them."""


@dataclass(frozen=True, slots=True)
class FileStores:
    blobs: BlobStore
    knowledge: BlobStore
    artifacts: BlobStore
    parts: Sequence[Component] = ()

    def each(self) -> Sequence[tuple[str, BlobStore]]:
        return list(zip(KINDS, (self.blobs, self.knowledge, self.artifacts), strict=True))


@asynccontextmanager
async def open_files(settings: Settings, outbound: Outbound) -> AsyncGenerator[FileStores]:
    """Raises SettingsError for an invalid address. Whether the bucket can be used is checked when the server starts."""
    if settings.blobs is None:
        yield replace(directories(settings.data_dir), parts=[Component(metrics=[failures()])])
        return
    bucket = bucket_of(settings, settings.blobs)
    copies = Copies(settings.data_dir / COPIES)
    copies.clear()
    unfinished = _unfinished(bucket, outbound)
    part = Component(
        checks=bucket_checks(bucket), metrics=[bucket.failures], background=[Started(start=partial(_prove, bucket))]
    )
    try:
        blobs, knowledge, artifacts = (BucketBlobs(bucket, kind, copies, unfinished) for kind in KINDS)
        yield FileStores(blobs, knowledge, artifacts, parts=[part])
    finally:
        await bucket.close()
        copies.close()


@asynccontextmanager
async def open_named(settings: Settings, named: str | None) -> AsyncGenerator[FileStores]:
    """The stores of another address than the settings': a bucket, the path of a data directory, or None for the
    settings' own data directory. Raises SettingsError, also if the bucket cannot be used."""
    if named is None or "://" not in named:
        yield directories(Path(named) if named is not None else settings.data_dir)
        return
    async with open_files(settings.model_copy(update={"blobs": named}), outbound_of(settings)) as files:
        for part in files.parts:
            for background in part.background:
                await background.start()
        yield files


def directories(data_dir: Path) -> FileStores:
    blobs, knowledge, artifacts = (DirectoryBlobs(data_dir / kind) for kind in KINDS)
    return FileStores(blobs, knowledge, artifacts)


def bucket_of(settings: Settings, named: str) -> Bucket:
    """Raises SettingsError."""
    try:
        address = BucketAddress.of(named)
    except ValueError as error:
        raise SettingsError(f"blobs (STOA_BLOBS) {error}") from error
    if address.scheme == "gs" and settings.blobs_endpoint is not None:
        raise SettingsError("blobs_endpoint (STOA_BLOBS_ENDPOINT) is for s3:// and az:// alone")
    connection = BucketConnection(
        settings.blobs_endpoint,
        settings.blobs_allow_http,
        settings.ca_file.read_text("utf-8") if settings.ca_file is not None else None,
        plain(settings.https_proxy),
        plain(settings.http_proxy),
        settings.no_proxy,
    )
    try:
        connection.check()
    except ValueError as error:
        raise SettingsError(f"blobs_endpoint (STOA_BLOBS_ENDPOINT) {error}") from error
    return Bucket(address, connection)


def _unfinished(bucket: Bucket, outbound: Outbound) -> UnfinishedUploads | None:
    found = bucket_keys()
    if bucket.address.scheme != "s3" or not found:
        return None
    keys = Keys(
        found["key_id"], found["secret"], found.get("token"), found.get("region", "us-east-1"), found.get("endpoint")
    )
    return UnfinishedUploads(bucket, outbound, keys)


async def _prove(bucket: Bucket) -> None:
    try:
        await prove(bucket, KINDS[0])
    except BucketRefused as error:
        endpoint = f" at {bucket.connection.endpoint}" if bucket.connection.endpoint else ""
        raise SettingsError(f"blobs (STOA_BLOBS): {bucket.address}{endpoint} cannot be used: {error.reason}") from error
