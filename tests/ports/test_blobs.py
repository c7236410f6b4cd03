"""One promise for every store of blobs: a directory, and a bucket on two servers, a strict one of the tests' own and
moto's S3."""

import asyncio
import hashlib
import io
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID, uuid4

import httpx
import pytest

from stoa.db.blobs import (
    CHUNK_BYTES,
    INCOMING,
    BlobDamaged,
    BlobMissing,
    BlobStore,
    BlobsUnavailable,
    DirectoryBlobs,
    Stored,
    opened,
)
from stoa.outbound import Outbound
from stoa.storage import Bucket, BucketAddress, BucketBlobs, BucketConnection, Copies, Keys, UnfinishedUploads, move
from tests.support.buckets import KEY_ID, REGION, SECRET, BucketServer, Upload, bucket_server, credentials

KEYS = Keys(KEY_ID, SECRET, None, REGION, None)
PREFIX = "stoa files/ü%20+&=@'"
"""Every character that some client or server quotes in its own way."""
MOTO = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False); server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
"""
"""In a process of its own: it patches what it likes and warns as it likes."""


@dataclass
class World:
    """A store, and its part size; `files` are the local files that it has made and not removed."""

    store: BlobStore
    part_bytes: int
    root: Path
    server: BucketServer | None = None

    def copies(self) -> list[Path]:
        return [path for path in (self.root / "copies").rglob("*") if path.is_file() and path.name != "lock"]


@pytest.fixture(scope="module", autouse=True)
def _credentials() -> Iterator[None]:
    with credentials():
        yield


@pytest.fixture(scope="module")
def strict() -> Iterator[BucketServer]:
    with bucket_server() as server:
        yield server


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", MOTO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    url = ""
    while not url.startswith("http"):
        line = process.stdout.readline().decode()
        assert line, "the server did not start"
        url = line.strip()
    assert httpx.put(f"{url}/files").status_code == 200
    yield url
    process.communicate(b"", timeout=20)


@pytest.fixture(params=["directory", "strict", "moto"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "directory":
        yield World(DirectoryBlobs(tmp_path / "files"), CHUNK_BYTES, tmp_path)
        return
    server: BucketServer | None = None
    if request.param == "strict":
        server = request.getfixturevalue("strict")
        assert server is not None
        server.clear()
        url, part_bytes = server.url, 64 * 1024
    else:
        url, part_bytes = request.getfixturevalue("moto"), 5 * 1024 * 1024
    bucket = Bucket(BucketAddress.of(f"s3://files/{PREFIX}/{uuid4()}"), BucketConnection(url), part_bytes=part_bytes)
    copies = Copies(tmp_path / "copies")
    yield World(
        BucketBlobs(bucket, "knowledge", copies, UnfinishedUploads(bucket, Outbound(), KEYS)),
        part_bytes,
        tmp_path,
        server,
    )
    await bucket.close()
    copies.close()
    assert not world_files(tmp_path / "copies")


def world_files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


ORG, PROJECT = uuid4(), uuid4()


async def put(store: BlobStore, content: bytes, org_id: UUID = ORG) -> str:
    return (await store.put(org_id, PROJECT, io.BytesIO(content))).name


async def content_of(store: BlobStore, name: str) -> bytes:
    return b"".join([piece async for piece in store.read(name)])


async def stored(store: BlobStore, org_id: UUID | None = None) -> list[Stored]:
    return [one async for batch in store.stored(org_id) for one in batch]


async def test_what_is_put_is_read_to_the_byte_at_every_size(world: World) -> None:
    part = world.part_bytes
    for size in (0, 1, part - 1, part, part + 1, 2 * part, 2 * part + 7):
        content = os.urandom(size)
        blob = await world.store.put(ORG, PROJECT, io.BytesIO(content))
        digest = hashlib.sha256(content)
        assert (blob.size, blob.sha256) == (size, digest.digest())
        assert blob.name == f"{ORG}/{PROJECT}/{digest.hexdigest()}"
        pieces = [piece async for piece in world.store.read(blob.name)]
        assert b"".join(pieces) == content
        assert all(len(piece) <= CHUNK_BYTES for piece in pieces)
        assert await world.store.exists(blob.name)
        async with world.store.local(blob.name) as path:
            assert path.read_bytes() == content
        assert world.copies() == []
        assert await world.store.delete(blob.name) == size


async def test_a_source_is_stored_from_where_it_stands(world: World) -> None:
    for size in (10, world.part_bytes + 10):
        source = io.BytesIO(b"skipped" + b"x" * size)
        source.seek(7)
        blob = await world.store.put(ORG, PROJECT, source)
        assert await content_of(world.store, blob.name) == b"x" * size


async def test_the_same_content_at_once_is_one_blob(world: World) -> None:
    content = os.urandom(world.part_bytes + 1)
    names = await asyncio.gather(*(put(world.store, content) for _ in range(4)))
    assert len(set(names)) == 1
    assert await content_of(world.store, names[0]) == content
    assert [one.name for one in await stored(world.store, ORG) if one.name == names[0]] == [names[0]]


async def test_what_is_not_there_is_missing(world: World) -> None:
    name = f"{ORG}/{PROJECT}/{'0' * 64}"
    assert not await world.store.exists(name)
    assert await world.store.delete(name) == 0
    with pytest.raises(BlobMissing):
        await content_of(world.store, name)
    with pytest.raises(BlobMissing):
        await opened(world.store.read(name))


async def test_what_is_deleted_is_gone(world: World) -> None:
    for size in (0, 3, world.part_bytes + 3):
        kept, name = await put(world.store, b"kept" + bytes(size)), await put(world.store, os.urandom(size))
        assert await world.store.delete(name) == size
        assert not await world.store.exists(name)
        assert await world.store.delete(name) == 0
        assert name not in {one.name for one in await stored(world.store)}
        assert await world.store.exists(kept)


async def test_blobs_are_listed_by_organization(world: World) -> None:
    one, other = uuid4(), uuid4()
    if world.server is not None:
        world.server.page_keys = 2
    mine = {await put(world.store, b"%d" % number, one) for number in range(5)}
    theirs = await put(world.store, b"theirs", other)
    found = await stored(world.store, one)
    assert {blob.name for blob in found} == mine
    assert all(blob.owner is not None and blob.size == 1 and -5 < blob.age_seconds < 60 for blob in found)
    assert {theirs, *mine} <= {blob.name for blob in await stored(world.store)}


async def test_a_source_that_breaks_leaves_nothing(world: World) -> None:
    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= world.part_bytes:
                raise OSError("the disk of the upload failed")
            return super().read(size)

    before = await stored(world.store)
    with pytest.raises(OSError, match="the disk of the upload failed"):
        await world.store.put(ORG, PROJECT, Breaking(bytes(3 * world.part_bytes)))
    assert await stored(world.store) == before


async def test_a_source_that_changes_while_it_is_stored_gets_no_wrong_name(world: World) -> None:
    class Changing(io.BytesIO):
        """Other bytes at the second reading."""

        readings = 0

        def seek(self, offset: int, whence: int = 0, /) -> int:
            self.readings += 1
            self.getbuffer()[:1] = b"y"
            return super().seek(offset, whence)

    source: BinaryIO = Changing(b"x" * (2 * world.part_bytes))
    if isinstance(world.store, DirectoryBlobs):  # It reads once.
        blob = await world.store.put(ORG, PROJECT, source)
        assert hashlib.sha256(await content_of(world.store, blob.name)).digest() == blob.sha256
        return
    with pytest.raises(BlobsUnavailable, match="send it again"):
        await world.store.put(ORG, PROJECT, source)
    assert [one for one in await stored(world.store) if one.owner is None] == []


async def test_an_upload_that_is_given_up_takes_its_parts_away(world: World) -> None:
    gone, going = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Slow(io.BytesIO):
        passes = 0

        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 2 * world.part_bytes and self.passes:
                loop.call_soon_threadsafe(going.set)
                asyncio.run_coroutine_threadsafe(gone.wait(), loop).result(30)
            return super().read(size)

        def seek(self, offset: int, whence: int = 0, /) -> int:
            self.passes += 1
            return super().seek(offset, whence)

    source = Slow(os.urandom(4 * world.part_bytes))
    source.passes = 1 if isinstance(world.store, DirectoryBlobs) else 0
    upload = asyncio.create_task(world.store.put(ORG, PROJECT, source))
    async with asyncio.timeout(30):
        await going.wait()
        before = {one.name for one in await stored(world.store) if one.owner is not None}
        upload.cancel()
        gone.set()
        with pytest.raises(asyncio.CancelledError):
            await upload
        while [one for one in await stored(world.store) if one.owner is None]:
            await asyncio.sleep(0.02)  # A thread ends it.
    assert {one.name for one in await stored(world.store)} == before or isinstance(world.store, DirectoryBlobs)


async def test_copies_go_also_when_their_reader_fails(world: World) -> None:
    name = await put(world.store, b"text")
    with pytest.raises(ZeroDivisionError):
        async with world.store.local(name):
            raise ZeroDivisionError
    assert world.copies() == []


async def test_blobs_move_from_store_to_store(world: World, tmp_path: Path) -> None:
    source = DirectoryBlobs(tmp_path / "source")
    contents = [b"", b"one", os.urandom(world.part_bytes + 1)]
    names = [await put(source, content) for content in contents]
    dry = await move(source, world.store, dry_run=True)
    assert (dry.copied, await stored(world.store, ORG)) == (3, [])
    source.path(names[1]).write_bytes(b"1ne")  # Damaged on the disk.
    first = await move(source, world.store)
    assert (first.copied, first.there, first.damaged) == (2, 0, [names[1]])
    source.path(names[1]).write_bytes(b"one")
    again = await move(source, world.store)
    assert (again.copied, again.there, again.damaged) == (1, 2, [])
    back = DirectoryBlobs(tmp_path / "back")
    assert (await move(world.store, back)).copied == 3
    assert [await content_of(back, name) for name in names] == contents
    back.path(names[1]).write_bytes(b"two")
    assert (await move(world.store, back)).copied == 0
    assert (await move(world.store, back, verify=True)).copied == 1
    assert await content_of(back, names[1]) == b"one"


# --- of buckets alone -----------------------------------------------------------------------------------------------
@pytest.fixture
def bucket_world(world: World) -> World:
    if world.server is None:
        pytest.skip("looks into the server")
    return world


def key_of(world: World, name: str) -> str:
    assert world.server is not None
    return next(key for key in world.server.objects if key.endswith(name))


async def test_damaged_content_is_never_returned_completely(bucket_world: World) -> None:
    assert bucket_world.server is not None
    for content in (b"right", os.urandom(5 * 1024 * 1024)):
        name = await put(bucket_world.store, content)
        bucket_world.server.store(key_of(bucket_world, name), b"wrong" + content[5:])
        received = b""
        with pytest.raises(BlobDamaged):
            async for piece in bucket_world.store.read(name):
                received += piece
        assert len(received) < len(content)
        with pytest.raises(BlobDamaged):
            async with bucket_world.store.local(name):
                pytest.fail("a reader must not see it")


async def test_unfinished_uploads_are_listed_and_removed(bucket_world: World) -> None:
    server, store = bucket_world.server, bucket_world.store
    assert server is not None
    name = await put(store, b"kept")
    prefix = key_of(bucket_world, name).removesuffix(name)
    began = datetime.now(UTC) - timedelta(hours=2)
    for number in range(5):
        server.uploads[f"a/b/c+={number}"] = Upload(f"{prefix}{ORG}/{number}", began, {1: b"part"})
    server.uploads["other"] = Upload("other/kind", began)
    server.store(f"{prefix}{INCOMING}/left", b"probe")
    server.store(f"{prefix}readme.txt", b"not ours")
    server.page_keys = 2
    left = [one for one in await stored(store) if one.owner is None]
    assert len(left) == 6
    assert all(one.name.count("/") != 2 for one in left), "the doctor tells them from blobs by this"
    assert sum(one.age_seconds > 3600 for one in left) == 5
    assert all([await store.remove_incoming(one.name) for one in left])
    assert list(server.uploads) == ["other"]
    assert sorted(server.objects) == sorted([key_of(bucket_world, name), f"{prefix}readme.txt"])
    assert not await store.remove_incoming(left[0].name)


async def test_a_download_at_a_slow_pace_holds_no_request_open(bucket_world: World) -> None:
    server = bucket_world.server
    assert server is not None
    name = await put(bucket_world.store, os.urandom(3 * 2 * 1024 * 1024))
    server.reset()
    reading: Any = bucket_world.store.read(name)
    await anext(reading)
    assert len(server.requests) == 2, "a look and the first block"
    await reading.aclose()
