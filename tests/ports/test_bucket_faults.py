"""A fault at every request of every operation on a bucket: what was promised holds after it, and the same operation
works once the fault is over."""

import asyncio
import io
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from stoa.db.blobs import BlobsUnavailable
from stoa.db.checks import Scope
from stoa.kernel.errors import AppError
from stoa.outbound import Outbound
from stoa.storage import (
    Bucket,
    BucketAddress,
    BucketBlobs,
    BucketConnection,
    BucketRefused,
    Copies,
    Keys,
    Timeouts,
    UnfinishedUploads,
    bucket_checks,
    prove,
)
from tests.support.buckets import KEY_ID, REGION, SECRET, BucketServer, Fault, bucket_server, credentials

PART_BYTES = 16 * 1024
KINDS = ("before", "after", "body", "500", "503", "lie")
ONCE = Timeouts(seconds_max=5, retries_max=0, retry_seconds_max=5)
AGAIN = Timeouts(seconds_max=5, retries_max=3, retry_seconds_max=5, backoff_seconds_max=0.01)
SMALL, LARGE = os.urandom(100), os.urandom(2 * PART_BYTES)
ORG, PROJECT = uuid4(), uuid4()
Operation = Callable[[BucketBlobs], Awaitable[None]]


@pytest.fixture(scope="module", autouse=True)
def _credentials() -> Iterator[None]:
    with credentials():
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[BucketServer]:
    with bucket_server() as made:
        yield made


@pytest.fixture(autouse=True)
def _clean(server: BucketServer) -> None:
    server.clear()


def bucket_of(server: BucketServer, patience: Timeouts = ONCE, address: str = "s3://files/stoa") -> Bucket:
    connection = BucketConnection(server.url)
    return Bucket(BucketAddress.of(address), connection, quick=patience, patient=patience, part_bytes=PART_BYTES)


def blobs_of(server: BucketServer, tmp_path: Path, patience: Timeouts = ONCE) -> BucketBlobs:
    bucket = bucket_of(server, patience)
    keys = Keys(KEY_ID, SECRET, None, REGION, None)
    return BucketBlobs(bucket, "blobs", Copies(tmp_path), UnfinishedUploads(bucket, Outbound(), keys))


async def put_small(blobs: BucketBlobs) -> None:
    await blobs.put(ORG, PROJECT, io.BytesIO(SMALL))


async def put_large(blobs: BucketBlobs) -> None:
    await blobs.put(ORG, PROJECT, io.BytesIO(LARGE))


async def name_of(blobs: BucketBlobs, content: bytes) -> str:
    return (await blobs.put(ORG, PROJECT, io.BytesIO(content))).name


async def requests_of(server: BucketServer, work: Awaitable[object]) -> int:
    server.reset()
    await work
    return len(server.requests)


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "in parts"])
async def test_an_upload_that_fails_anywhere_is_absent_or_whole_and_is_stored_when_sent_again(
    server: BucketServer, tmp_path: Path, content: bytes
) -> None:
    blobs, calm = blobs_of(server, tmp_path), blobs_of(server, tmp_path, AGAIN)
    name = await name_of(blobs, content)
    count = await requests_of(server, blobs.put(ORG, PROJECT, io.BytesIO(content)))
    failures: list[str] = []
    for number in range(count):
        for kind in KINDS:
            server.objects.clear()
            server.reset({number: Fault(kind, forever=kind == "503")})
            try:
                await blobs.put(ORG, PROJECT, io.BytesIO(content))
            except BlobsUnavailable as error:
                failures.append(error.headers["Retry-After"])
                server.reset()
            else:
                server.reset()
                assert await calm.exists(name), f"{kind} at {number}: it was said to be stored"
            if await calm.exists(name):
                assert b"".join([piece async for piece in calm.read(name)]) == content
            assert await name_of(calm, content) == name
            assert b"".join([piece async for piece in calm.read(name)]) == content
            # What was begun is taken away again, unless the answer that names it was lost, or nothing answers.
            lost = (number == 0 and kind in {"after", "body"}) or kind == "503"
            assert lost or server.uploads == {}, f"{kind} at {number}"
            server.uploads.clear()
    assert len(failures) >= count
    assert all(int(seconds) >= 1 for seconds in failures)


async def test_a_read_that_fails_anywhere_gives_nothing_wrong(server: BucketServer, tmp_path: Path) -> None:
    blobs = blobs_of(server, tmp_path)
    content = os.urandom(2 * 1024 * 1024 + 1)
    name = await name_of(blobs, content)

    async def read() -> bytes:
        return b"".join([piece async for piece in blobs.read(name)])

    count = await requests_of(server, read())
    for number in range(count):
        for kind in KINDS:
            server.reset({number: Fault(kind)})
            try:
                found = await read()
            except AppError:
                continue
            assert found == content, f"{kind} at {number}"
    server.reset()
    assert b"".join([piece async for piece in blobs_of(server, tmp_path, AGAIN).read(name)]) == content


async def test_a_deletion_that_succeeds_is_one(server: BucketServer, tmp_path: Path) -> None:
    blobs, calm = blobs_of(server, tmp_path), blobs_of(server, tmp_path, AGAIN)
    name = await name_of(blobs, SMALL)
    count = await requests_of(server, blobs.delete(name))
    assert count == 3, "a look, the deletion, a look"
    for number in range(count):
        for kind in KINDS:
            server.reset()
            await put_small(calm)
            server.reset({number: Fault(kind)})
            try:
                await blobs.delete(name)
            except BlobsUnavailable:
                server.reset()
                await calm.delete(name)
            assert not [key for key in server.objects if key.endswith(name)], f"{kind} at {number}"


@pytest.mark.parametrize("kind", ["before", "after", "body", "503"])
async def test_a_fault_that_passes_is_not_noticed(server: BucketServer, tmp_path: Path, kind: str) -> None:
    blobs = blobs_of(server, tmp_path, AGAIN)

    async def all_of_it() -> None:
        name = await name_of(blobs, LARGE)
        assert b"".join([piece async for piece in blobs.read(name)]) == LARGE
        assert name in {one.name async for batch in blobs.stored() for one in batch}
        assert await blobs.delete(name) == len(LARGE)

    count = await requests_of(server, all_of_it())
    for number in range(count):
        server.reset({number: Fault(kind)})
        try:
            await all_of_it()
        except BlobsUnavailable as error:
            raise AssertionError(f"{kind} at {number}: {server.requests[number]}") from error


async def test_an_answer_that_never_comes_is_waited_for_a_bounded_time(server: BucketServer, tmp_path: Path) -> None:
    blobs = blobs_of(server, tmp_path, Timeouts(seconds_max=0.3, retries_max=0, retry_seconds_max=0.3))
    server.reset({0: Fault("hang", forever=True)})
    async with asyncio.timeout(10):
        for work in (put_small(blobs), put_large(blobs), blobs.exists(f"{ORG}/{PROJECT}/{'0' * 64}")):
            with pytest.raises(BlobsUnavailable):
                await work
    server.released.set()
    server.released.clear()


# --- what a bucket refuses ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("denied", "said"), [("list", "ListBucket"), ("put", "PutObject"), ("get", "GetObject"), ("delete", "DeleteObject")]
)
async def test_a_missing_permission_is_named_at_the_start(server: BucketServer, denied: str, said: str) -> None:
    server.denied = {denied}
    with pytest.raises(BucketRefused) as refused:
        await prove(bucket_of(server), "blobs")
    assert said in refused.value.reason
    assert "AccessDenied" in refused.value.reason or "403" in refused.value.reason


async def test_other_refusals_are_named_at_the_start(server: BucketServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BucketRefused, match="bucket refuses") as refused:
        await prove(bucket_of(server, address="s3://no-such-bucket"), "blobs")
    assert "NoSuchBucket" in refused.value.reason
    server.region = "us-west-2"
    with pytest.raises(BucketRefused) as refused:
        await prove(bucket_of(server), "blobs")
    server.region, server.skewed = REGION, True
    with pytest.raises(BucketRefused) as refused:
        await prove(bucket_of(server), "blobs")
    server.skewed = False
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(BucketRefused) as refused:
        await prove(bucket_of(server), "blobs")


async def test_a_bucket_that_does_not_answer_at_the_start_is_warned_of(server: BucketServer) -> None:
    server.reset({0: Fault("503", forever=True)})
    await prove(bucket_of(server), "blobs")
    assert len(server.requests) == 1


async def test_a_bucket_that_keeps_versions_is_found(server: BucketServer) -> None:
    bucket = bucket_of(server)
    [check] = bucket_checks(bucket)

    async def findings() -> list[str]:
        return [found.detail async for found in check.find(None, Scope())]  # type: ignore[arg-type]

    assert await findings() == []
    await bucket.put("a/b", b"text")
    assert await findings() == []
    server.versioned = True
    await bucket.put("a/b", b"text")
    assert await findings() == ["keeps old versions of deleted objects"]
    await prove(bucket, "blobs")
