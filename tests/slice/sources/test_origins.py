"""What is particular to directories, repositories and buckets: links that lead out, files that are none, processes that
die."""

import asyncio
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from dulwich import porcelain
from dulwich.repo import Repo

from stoa.outbound import Outbound
from stoa.sources import rules
from stoa.sources.configs import DirectoryConfig, GitConfig, S3Config
from stoa.sources.providers.directory import DirectoryOrigin
from stoa.sources.providers.git import GitOrigin
from stoa.sources.providers.s3 import S3Origin
from stoa.sources.types import Failed, Fetched, NoDocument, SourceError, Unchanged
from tests.support.origins import Answer, GitWorld, Memory, Walk, listing, repositories, session, site


# --- directories
# --------------------------------------------------------------------------------------------------------
async def walk_of(path: Path, root: Path | None = None, memory: Memory | None = None, **config: Any) -> Walk:
    return await (memory or Memory()).walk(DirectoryOrigin(DirectoryConfig(path=str(path), **config), [root or path]))


async def test_links_never_leave_the_directory(tmp_path: Path) -> None:
    root, outside = tmp_path / "root" / "docs", tmp_path / "root" / "outside"
    root.mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    (root / "a.txt").write_text("a")
    (root / "inside.txt").symlink_to("a.txt")
    (root / "file.txt").symlink_to(outside / "secret.txt")
    (root / "relative.txt").symlink_to("../outside/secret.txt")
    (root / "directory").symlink_to(outside)
    (root / "loop").symlink_to(root)
    (root / "nowhere.txt").symlink_to("none")
    (root / "passwd.txt").symlink_to("/etc/passwd")
    walk = await walk_of(root, tmp_path / "root")
    assert (walk.named(Fetched), walk.named(Failed)) == (["a.txt", "inside.txt"], [])
    assert walk.contents == {"a.txt": b"a", "inside.txt": b"a"}


async def test_a_directory_that_is_swapped_for_a_link_leads_nowhere(tmp_path: Path) -> None:
    """Between the listing and the reading; the reader goes down component by component."""
    root, outside = tmp_path / "docs", tmp_path / "outside"
    (root / "sub").mkdir(parents=True)
    outside.mkdir()
    (outside / "a.txt").write_text("secret")
    (root / "sub" / "a.txt").write_text("a")
    memory = Memory()

    async def remember(origins: Any) -> Any:
        (root / "sub").rename(tmp_path / "away")
        (root / "sub").symlink_to(outside)
        return await memory.remember(origins)

    findings = [one async for one in DirectoryOrigin(DirectoryConfig(path=str(root)), [root]).walk(remember)]
    assert [(one.origin, one.code) for one in findings if isinstance(one, Failed)] == [("sub/a.txt", "unreadable")]


async def test_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / ".hidden").write_text("h")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.txt"))
        async with asyncio.timeout(10):
            assert (await walk_of(tmp_path)).named(Fetched) == ["a.txt"]
            assert (await walk_of(tmp_path, hidden=True)).named(Fetched) == [".hidden", "a.txt"]
            assert (await walk_of(tmp_path, include=["*.png"])).named(Fetched) == ["picture.png"], (
                "what is asked for by name is taken"
            )


async def test_names_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"bad-\xff.txt")).write_text("x")
    (tmp_path / "good.txt").write_text("y")
    deep = tmp_path
    for _ in range(9):
        deep = deep / ("d" * 240)
        deep.mkdir()
    (deep / "a.txt").write_text("z")
    walk = await walk_of(tmp_path)
    assert walk.named(Fetched) == ["good.txt"]
    assert {one.code for one in walk.findings if isinstance(one, Failed)} == {"name_unusable"}
    assert len(walk.named(Failed)) == 2


async def test_a_change_that_keeps_size_and_date_is_seen(tmp_path: Path) -> None:
    file, memory = tmp_path / "a.txt", Memory()
    file.write_text("140 euros")
    await walk_of(tmp_path, memory=memory)
    before = file.stat()
    file.write_text("999 euros")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (await walk_of(tmp_path, memory=memory)).contents == {"a.txt": b"999 euros"}


async def test_a_file_over_the_limit(tmp_path: Path) -> None:
    with (tmp_path / "big.txt").open("wb") as file:
        file.truncate(rules.ITEM_BYTES_MAX + 1)
    walk = await walk_of(tmp_path)
    assert [(one.origin, one.code) for one in walk.findings if isinstance(one, Failed)] == [("big.txt", "too_large")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
async def test_a_directory_that_may_not_be_listed(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "a.txt").write_text("a")
    walk = await walk_of(tmp_path)
    assert "closed cannot be listed" in walk.incomplete[0]
    assert walk.named(Fetched) == ["a.txt"]


@pytest.mark.parametrize("path", ["/etc", "/", "relative", "{root}/../outside", "{root}-beside", "{root}/link"])
async def test_only_what_the_operator_allows(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    for made in (root, tmp_path / "outside", tmp_path / "root-beside"):
        made.mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(SourceError) as caught:
        await walk_of(Path(path.replace("{root}", str(root))), root)
    assert caught.value.code == "directory_refused"


# --- repositories
# -------------------------------------------------------------------------------------------------------
async def clone(
    tmp_path: Path,
    url: str,
    memory: Memory | None = None,
    secrets: dict[str, str] | None = None,
    *,
    private: bool = True,
    **config: Any,
) -> Walk:
    origin = GitOrigin(
        GitConfig(url=url, **config),
        secrets or {},
        tmp_path / "clones" / "one",
        [tmp_path],
        Outbound(allow_private=private),
    )
    try:
        async with asyncio.timeout(40):
            return await (memory or Memory()).walk(origin)
    finally:
        await origin.close()


async def test_a_repository_of_this_machine(tmp_path: Path) -> None:
    work = tmp_path / "work"
    repo = Repo.init(str(work), mkdir=True)
    world = GitWorld(tmp_path, work.as_uri(), repo)
    (work / "link.md").symlink_to("/etc/passwd")
    (work / "large.md").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    (work / ".hidden.md").write_text("h")
    porcelain.add(repo, [str(work / name) for name in ("link.md", "large.md", ".hidden.md")])
    await world.put("a.md", "on main")
    main = world.head
    porcelain.branch_create(repo, "drafts")
    porcelain.checkout(repo, "drafts")
    await world.put("a.md", "on drafts")
    walk = await clone(tmp_path, work.as_uri(), branch="master")
    assert (walk.named(Fetched), walk.named(NoDocument), walk.contents["a.md"]) == (["a.md"], ["large.md"], b"on main")
    assert walk.fetched("a.md").metadata["commit"] == main
    memory = Memory()
    assert (await clone(tmp_path, work.as_uri(), memory, branch="drafts")).contents["a.md"] == b"on drafts"
    assert (await clone(tmp_path, work.as_uri(), memory)).named(Unchanged) == ["a.md", "large.md"], (
        "HEAD is that branch now"
    )
    for branch, url, code in (
        ("none", work.as_uri(), "branch_not_found"),
        (None, tmp_path.as_uri(), "origin_not_found"),
        (None, "file:///etc", "directory_refused"),
    ):
        with pytest.raises(SourceError) as caught:
            await clone(tmp_path, url, branch=branch)
        assert caught.value.code == code
    repo.close()


async def test_a_repository_over_http_and_what_refuses_it(tmp_path: Path) -> None:
    repo = Repo.init(str(tmp_path / "work"), mkdir=True)
    with repositories({"/docs.git": repo}) as url:
        with pytest.raises(SourceError) as caught:
            await clone(tmp_path, f"{url}/docs.git")
        assert caught.value.code == "branch_not_found", "it is empty"
        world = GitWorld(tmp_path, f"{url}/docs.git", repo)
        await world.put("a.md", "one")
        memory = Memory()
        assert (await clone(tmp_path, f"{url}/docs.git", memory)).named(Fetched) == ["a.md"]
        # A clone that was torn is made anew; history that was rewritten is followed.
        (tmp_path / "clones" / "one" / "HEAD").unlink()
        porcelain.commit(repo, message=b"Rewritten", author=b"A <a@b>", committer=b"A <a@b>", amend=True)
        assert (await clone(tmp_path, f"{url}/docs.git", memory)).named(Unchanged) == ["a.md"]
        with pytest.raises(SourceError) as caught:
            await clone(tmp_path, f"{url}/docs.git", private=False)
        assert caught.value.code == "address_refused"
        with pytest.raises(SourceError) as caught:
            await clone(tmp_path, url.replace("127.0.0.1", "localhost") + "/docs.git", private=False)
        assert caught.value.code == "address_refused"
    async with site() as made:
        made.answers["/docs.git/info/refs?service=git-upload-pack"] = Answer(b"", 401, {"www-authenticate": "Basic"})
        with pytest.raises(SourceError) as caught:
            await clone(tmp_path, f"{made.url}/docs.git", secrets={"token": "s3cret"})
        assert caught.value.code == "credentials_refused"
        assert made.asked[0][2]["authorization"] == "Basic Z2l0OnMzY3JldA=="  # git:s3cret
        made.answers["/docs.git/info/refs?service=git-upload-pack"] = Answer(
            b"<html>", 200, {"content-type": "text/html"}
        )
        with pytest.raises(SourceError) as caught:
            await clone(tmp_path, f"{made.url}/docs.git")
        assert caught.value.code in ("origin_unreachable", "origin_failed")
    repo.close()


async def test_a_crash_of_the_reader_fails_one_file_only(tmp_path: Path) -> None:
    """As it does when a file needs more memory than it may use: the others are still read, and none twice."""
    work = tmp_path / "work"
    repo = Repo.init(str(work), mkdir=True)
    world = GitWorld(tmp_path, work.as_uri(), repo)
    for name in ("a", "b", "c"):
        await world.put(f"{name}.md", f"File {name}")
    origin = GitOrigin(GitConfig(url=work.as_uri()), {}, tmp_path / "clone", [tmp_path], Outbound(allow_private=True))
    found: list[Any] = []
    try:
        async with asyncio.timeout(40):
            async for finding in origin.walk(Memory().remember):
                found.append(finding)
                if len(found) == 1:
                    assert origin._process is not None
                    origin._process.kill()
    finally:
        await origin.close()
    assert [(type(one), one.origin) for one in found] == [(Fetched, "a.md"), (Failed, "b.md"), (Fetched, "c.md")]
    for one in found:
        if isinstance(one, Fetched):
            one.content.file.close()
    repo.close()


async def test_a_bucket_is_listed_page_by_page() -> None:
    async with site() as made, session() as http:
        made.answers["/docs/?list-type=2&max-keys=1000&prefix=a%2F"] = Answer(
            listing(("a/1.md", 3), ("a/", 0), ("a/big.md", 10**12), more="next/1+=")
        )
        made.answers["/docs/?continuation-token=next%2F1%2B%3D&list-type=2&max-keys=1000&prefix=a%2F"] = Answer(
            listing(("a/2.md", 3))
        )
        made.answers["/docs/a/1.md"] = Answer(b"one", headers={"content-type": "text/markdown"})
        memory, config = Memory(), S3Config(bucket="docs", prefix="a/", endpoint=made.url)
        walk = await memory.walk(S3Origin(config, {}, http))
        assert walk.contents == {"a/1.md": b"one"}
        assert {one.origin: one.code for one in walk.findings if isinstance(one, Failed)} == {
            "a/big.md": "too_large",
            "a/2.md": "origin_not_found",
        }
        assert not any("authorization" in headers for _, _, headers in made.asked), "without keys nothing is signed"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(b"<Error><Code>AccessDenied</Code></Error>", 403), "credentials_refused"),
        (Answer(b"", 404), "origin_not_found"),
        (Answer(b"", 503), "origin_failed"),
        (Answer(b"<html>"), "origin_failed"),
        (Answer(b"<a/>"), "origin_failed"),
        (Answer(b""), "origin_failed"),
        (Answer(listing(("a", 1))[:-20]), "origin_failed"),
        (Answer(b'<!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult/>'), "origin_failed"),
        (Answer(b"", 301, {"x-amz-bucket-region": "eu-west-1"}), "origin_failed"),
    ],
)
async def test_listings_that_are_none(answer: Answer, code: str) -> None:
    async with site() as made, session() as http:
        made.answers["/docs/?list-type=2&max-keys=1000"] = answer
        with pytest.raises(SourceError) as caught:
            await Memory().walk(S3Origin(S3Config(bucket="docs", endpoint=made.url), {}, http))
        assert caught.value.code == code
        assert json.dumps(caught.value.message)
        assert answer.status != 301 or "region eu-west-1" in caught.value.message


async def test_a_bucket_of_the_own_network_is_refused() -> None:
    async with session(Outbound()) as http:
        for host in ("127.0.0.1:9", "localhost:9", "[::1]:9"):
            with pytest.raises(SourceError) as caught:
                await Memory().walk(S3Origin(S3Config(bucket="docs", endpoint=f"http://{host}"), {}, http))
            assert caught.value.code == "address_refused"
