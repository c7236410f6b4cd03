"""The check of a bucket at the start, and the doctor's check."""

import os
from collections.abc import AsyncIterator, Awaitable, Sequence
from functools import partial
from typing import Final, TypeVar
from uuid import UUID, uuid4

import structlog

from stoa.db.blobs import INCOMING, BlobsUnavailable
from stoa.db.checks import Check, Scope
from stoa.db.engine import Tx
from stoa.kernel.findings import Finding
from stoa.storage.bucket import Bucket, BucketRefused

_KEEPS: Final = "keeps old versions of deleted objects"
_log = structlog.get_logger("stoa.blobs")
T = TypeVar("T")


async def prove(bucket: Bucket, kind: str) -> None:
    """Writes, reads, lists and deletes a small object. Raises BucketRefused if the bucket refuses one of these; only
    warns if it does not answer, so that a server can start during an outage."""
    key = f"{kind}/{INCOMING}/{uuid4()}"
    content = os.urandom(16)
    await bucket.open()
    try:
        await _prove(bucket, key, content)
    except BucketRefused:
        raise
    except BlobsUnavailable as error:
        _log.warning("the bucket cannot be reached; uploads fail until it can", reason=error.message)


async def _prove(bucket: Bucket, key: str, content: bytes) -> None:
    if await _may("look for objects (s3:ListBucket, s3:GetObject)", bucket.head(key)) is not None:
        raise BucketRefused("it says of an object that nobody wrote that it is there")
    await _may("write objects (s3:PutObject)", bucket.put(key, content))
    try:
        try:
            read = await _may("read objects (s3:GetObject)", bucket.read(key, 0, len(content)))
        except FileNotFoundError as error:
            raise BucketRefused("an object is not there after it was written") from error
        if read != content:
            raise BucketRefused("an object is not what was written")
        listed = [one async for batch in bucket.list(key.rpartition("/")[0]) for one in batch if one.key == key]
        if not listed:
            raise BucketRefused("a listing does not show an object after it was written")
        written = await bucket.head(key)
    finally:
        await _may("delete objects (s3:DeleteObject)", bucket.delete(key))
    if await bucket.head(key) is not None:
        raise BucketRefused("an object is still there after it was deleted")
    if written is not None and _is_kept(bucket, written.version):
        _log.warning("the bucket keeps old versions of deleted objects", bucket=str(bucket.address))


async def _may(what: str, request: Awaitable[T]) -> T:
    try:
        return await request
    except BucketRefused as error:
        raise BucketRefused(f"its credentials may not {what}: {error.reason}") from error


def bucket_checks(bucket: Bucket) -> Sequence[Check]:
    return [
        Check(
            "storage.versions",
            "The bucket of files keeps no old versions: what is deleted is gone.",
            partial(_versions, bucket),
            "Turn versioning off for the bucket and remove its noncurrent versions; until then the content of deleted"
            " files stays there.",
        )
    ]


async def _versions(bucket: Bucket, _: Tx, scope: Scope) -> AsyncIterator[Finding]:
    """Checks one object, for the operator only."""
    if scope.org_id is not None:
        return
    async for batch in bucket.list():
        found = await bucket.head(batch[0].key) if batch else None
        if found is not None and _is_kept(bucket, found.version):
            yield Finding(UUID(int=0), str(bucket.address), _KEEPS)
        return


def _is_kept(bucket: Bucket, version: str | None) -> bool:
    """Google numbers every object, versions kept or not."""
    return bucket.address.scheme != "gs" and version not in (None, "null")
