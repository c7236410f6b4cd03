"""One suite that every provider passes: what is promised of an origin's walk, held against a real one of each kind."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from dulwich.repo import Repo

from stoa.sources.types import Failed, Fetched, NoDocument, SourceError, Unchanged
from tests.support.origins import (
    Bucket,
    BucketWorld,
    DirectoryWorld,
    GitWorld,
    Memory,
    WebsiteWorld,
    World,
    repositories,
    session,
    site,
)

KINDS = ["website", "directory", "s3", "git"]

BUCKET_SERVER = """
import sys
from moto.server import ThreadedMotoServer
import logging; logging.getLogger("werkzeug").setLevel(logging.INFO)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=True); server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
"""
"""In a process of its own: it patches what it likes and warns as it likes."""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    import boto3  # type: ignore[import-untyped]  # noqa: PLC0415 — half a second, for these tests alone

    log = tmp_path_factory.mktemp("s3") / "log"
    environment = {
        **os.environ,
        "INITIAL_NO_AUTH_ACTION_COUNT": "4",
    }  # The user and its key are made before keys are asked for.
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", BUCKET_SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
        )
    assert process.stdout is not None
    url = ""
    while not url.startswith("http"):
        url = process.stdout.readline().decode().strip()
        assert url, "the server did not start"
    options = {"endpoint_url": url, "region_name": "us-east-1"}
    people = boto3.client("iam", aws_access_key_id="first", aws_secret_access_key="first", **options)
    people.create_user(UserName="reader")
    key = people.create_access_key(UserName="reader")["AccessKey"]
    people.put_user_policy(
        UserName="reader",
        PolicyName="all",
        PolicyDocument='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}',
    )
    api = boto3.client(
        "s3", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"], **options
    )
    secrets = {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}
    yield Bucket(url, "", api, secrets, _Log(log))
    api.close()
    people.close()
    process.communicate(b"", timeout=20)


class _Log(list[str]):
    """The server's log, as the paths of GETs."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __iter__(self) -> Iterator[str]:
        return iter(
            [
                line.split('"GET ')[1].split(" ")[0]
                for line in self._file.read_text("utf-8", "replace").splitlines()
                if '"GET ' in line
            ]
        )


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    match request.param:
        case "website":
            async with site() as made, session() as http:
                yield WebsiteWorld(made, http)
        case "directory":
            yield DirectoryWorld(tmp_path)
        case "s3":
            bucket: Bucket = request.getfixturevalue("bucket")
            bucket.name = f"docs-{abs(hash(request.node.nodeid)):x}"
            bucket.api.create_bucket(Bucket=bucket.name)
            async with session() as http:
                yield BucketWorld(bucket, http)
        case _:
            repo = Repo.init(str(tmp_path / "work"), mkdir=True)
            with repositories({"/team/docs.git": repo}) as url:
                yield GitWorld(tmp_path, f"{url}/team/docs.git", repo)
            repo.close()


PATHS = ["travel.md", "deep/er/sick.md", "a b/größe.md", "c#d.md", "50%.md"]


async def filled(world: World) -> None:
    for path in PATHS:
        await world.put(path, f"What {path} says")


async def test_everything_is_found_and_traceable(world: World) -> None:
    await filled(world)
    async with world.opened() as origin:
        walk = await Memory().walk(origin)
    assert walk.named(Fetched) == sorted(map(world.origin_of, PATHS))
    assert (walk.named(Failed), walk.incomplete) == ([], [])
    for path in PATHS:
        found = walk.fetched(world.origin_of(path))
        assert f"What {path} says" in walk.contents[found.origin].decode()
        assert found.state, "there is always something that tells next time"
        assert found.metadata["source"] == found.origin
        assert found.metadata.get("path", found.metadata.get("url")) == found.origin


async def test_what_did_not_change_is_not_downloaded(world: World) -> None:
    await filled(world)
    memory = Memory()
    async with world.opened() as origin:
        await memory.walk(origin)
    before = world.downloads()
    async with world.opened() as origin:
        walk = await memory.walk(origin)
    assert (walk.named(Fetched), walk.named(Failed), walk.incomplete) == ([], [], [])
    assert set(walk.named(Unchanged)) >= set(map(world.origin_of, PATHS))
    assert world.downloads() == before


async def test_changes_and_deletions_follow(world: World) -> None:
    await filled(world)
    memory = Memory()
    async with world.opened() as origin:
        await memory.walk(origin)
    await world.put("travel.md", "Trains are booked by the office.")
    await world.remove("deep/er/sick.md")
    await world.put("new.md", "A new one")
    async with world.opened() as origin:
        walk = await memory.walk(origin)
    changed = [one for one in walk.named(Fetched) if one != world.origin_of("")]
    assert changed == sorted(map(world.origin_of, ["new.md", "travel.md"]))
    assert b"booked by the office" in walk.contents[world.origin_of("travel.md")]
    named = set(walk.named(Fetched)) | set(walk.named(Unchanged))
    assert world.origin_of("deep/er/sick.md") not in named
    assert walk.incomplete == [], "so that what was not named is gone"


async def test_what_is_done_is_not_found_again(world: World) -> None:
    await filled(world)
    memory = Memory()
    async with world.opened() as origin:
        first = await memory.walk(origin)
    memory.done = set(first.named(Fetched)[:3]) | set(first.named(NoDocument))
    before = world.downloads()
    async with world.opened() as origin:
        second = await memory.walk(origin)
    assert set(second.named(Unchanged)) == set(map(world.origin_of, PATHS)) - memory.done
    assert second.named(Fetched) == []
    assert world.downloads() == before


async def test_patterns_decide(world: World) -> None:
    await filled(world)
    async with world.opened(exclude=["deep/", "*#*"]) as origin:
        walk = await Memory().walk(origin)
    kept = [path for path in PATHS if not path.startswith("deep") and "#" not in path]
    assert walk.named(Fetched) == sorted(map(world.origin_of, kept))
    async with world.opened(include=["deep/**/*.md"]) as origin:
        walk = await Memory().walk(origin)
    assert walk.named(Fetched) == [world.origin_of("deep/er/sick.md")]


async def test_what_cannot_be_listed_says_so_and_names_nothing(world: World) -> None:
    await filled(world)
    memory = Memory()
    async with world.opened() as origin:
        await memory.walk(origin)
    await world.break_listing()
    with pytest.raises(SourceError) as caught:
        async with world.opened() as origin:
            await memory.walk(origin)
    assert caught.value.code in ("origin_failed", "origin_not_found", "directory_refused")
    assert caught.value.message.endswith(".")


async def test_a_cancelled_walk_leaves_nothing_running(world: World) -> None:
    await filled(world)
    async with world.opened() as origin:
        findings = origin.walk(Memory().remember)
        async with asyncio.timeout(20):
            first = await anext(findings)
        if isinstance(first, Fetched):
            first.content.file.close()
        await findings.aclose()
