"""The website crawler against a real site on loopback: what it asks for, what it leaves alone, and what it does not
fall for."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stoa.outbound import Outbound
from stoa.sources.configs import WebsiteConfig
from stoa.sources.providers.website import WebsiteOrigin
from stoa.sources.types import Failed, Fetched, NoDocument, SourceError, Unchanged
from tests.support.origins import ANYWHERE, Answer, Memory, Site, Walk, gzipped, session, site


@pytest.fixture
async def made() -> AsyncIterator[Site]:
    async with site() as one:
        yield one


async def crawl(
    made: Site, memory: Memory | None = None, *, secrets: dict[str, str] | None = None, url: str = "", **config: Any
) -> Walk:
    config = {"url": url or made.url, "delay_seconds": 0, "sitemap": False, **config}
    async with session() as http, asyncio.timeout(20):
        return await (memory or Memory()).walk(WebsiteOrigin(WebsiteConfig(**config), secrets or {}, http))


def paths(walk: Walk, made: Site, kind: type = Fetched) -> list[str]:
    return [origin.removeprefix(made.url) for origin in walk.named(kind)]


async def test_robots_are_kept_to(made: Site) -> None:
    made.answers["/robots.txt"] = Answer(
        b"User-agent: *\nDisallow: /all\n\nUser-agent: Stoa\nDisallow: /private\nAllow: /private/open\n"
    )
    made.page("/", "/private/x", "/private/open/y", "/all/z")
    for path in ("/private/x", "/private/open/y", "/all/z"):
        made.page(path)
    walk = await crawl(made)
    assert paths(walk, made) == ["/", "/all/z", "/private/open/y"]
    assert made.visits("/private/x") == []
    assert paths(walk, made, NoDocument) == ["/private/x"]
    assert {headers["user-agent"].split("/")[0] for _, _, headers in made.asked} == {"Stoa"}


async def test_a_start_that_robots_forbid_is_no_empty_site(made: Site) -> None:
    made.answers["/robots.txt"] = Answer(b"User-agent: *\nDisallow: /\n")
    made.page("/")
    with pytest.raises(SourceError) as caught:
        await crawl(made)
    assert (caught.value.code, made.visits()) == ("origin_refused", [])


@pytest.mark.parametrize(("status", "code"), [(500, "robots_unreachable"), (404, None), (403, None)])
async def test_robots_that_cannot_be_read(made: Site, status: int, code: str | None) -> None:
    made.answers["/robots.txt"] = Answer(b"", status)
    made.page("/")
    if code is None:
        assert paths(await crawl(made), made) == ["/"]
    else:
        with pytest.raises(SourceError) as caught:
            await crawl(made)
        assert (caught.value.code, caught.value.retryable, made.visits()) == (code, True, [])


async def test_a_further_host_whose_robots_cannot_be_read_loses_nothing(made: Site) -> None:
    async with site() as other:
        made.page("/", f"{other.url}/x")
        other.page("/x")
        other.answers["/robots.txt"] = Answer(b"", 500)
        walk = await crawl(made, hosts=(f"127.0.0.1:{other.port}",))
        assert ({one.code for one in walk.findings if isinstance(one, Failed)}, other.visits()) == (
            {"robots_unreachable"},
            [],
        )


async def test_its_pace_is_kept(made: Site) -> None:
    made.answers["/robots.txt"] = Answer(b"User-agent: *\nCrawl-delay: 0.1\n")
    made.page("/", "/1", "/2", "/3")
    for path in ("/1", "/2", "/3"):
        made.page(path)
    begun = asyncio.get_running_loop().time()
    assert len(paths(await crawl(made, delay_seconds=0.05), made)) == 4
    assert asyncio.get_running_loop().time() - begun >= 0.3


async def test_conditions_are_sent_and_answered(made: Site) -> None:
    made.page("/", "/a", "/b", **{"last-modified": "Tue, 03 Nov 2026 10:00:00 GMT"})
    made.page("/a", text="one")
    made.page("/b", "/c")
    made.page("/c")
    memory = Memory()
    await crawl(made, memory)
    made.asked.clear()
    made.page("/a", text="two")
    walk = await crawl(made, memory)
    assert (paths(walk, made), paths(walk, made, Unchanged)) == (["/a"], ["/", "/b", "/c"])
    statuses = {path: status for path, status, _ in made.asked}
    assert statuses == {"/robots.txt": 404, "/": 304, "/a": 200, "/b": 304, "/c": 304}, (
        "/c is known from what /b held last time"
    )
    first = next(headers for path, _, headers in made.asked if path == "/")
    assert first["if-modified-since"] == "Tue, 03 Nov 2026 10:00:00 GMT"


async def test_depth_pages_and_hosts_have_limits(made: Site) -> None:
    made.page("/", "/1", "http://other.example/x", "mailto:a@example.com")
    for number in range(1, 6):
        made.page(f"/{number}", f"/{number + 1}")
    assert paths(await crawl(made, depth_max=2), made) == ["/", "/1", "/2"]
    walk = await crawl(made, pages_max=3, depth_max=20)
    assert paths(walk, made) == ["/", "/1", "/2"]
    assert "pages_max" in walk.incomplete[0]
    assert paths(await crawl(made, depth_max=0), made) == ["/"]


async def test_loops_and_endless_sites_end(made: Site) -> None:
    made.page("/", "/", "/a", "/a#x", "/a?", "/./a")
    made.page("/a", "/", "/a", "//" + made.url.removeprefix("http://") + "/a")
    made.answers["/r1"] = Answer(b"", 302, {"location": "/r2"})
    made.answers["/r2"] = Answer(b"", 302, {"location": "/r1"})
    made.page("/", "/a", "/r1")
    walk = await crawl(made)
    assert paths(walk, made) == ["/", "/a"]
    assert [made.visits(path) for path in ("/r1", "/r2", "/a")] == [[302], [302], [200]]
    for number in range(30):  # A calendar: every page names the next.
        made.page(f"/day/{number}", f"/day/{number + 1}")
    made.page("/", "/day/0")
    assert len(paths(await crawl(made, depth_max=20, pages_max=10), made)) == 10


async def test_redirects_are_one_page(made: Site) -> None:
    made.answers["/"] = Answer(b"", 301, {"location": "/en/"})
    made.page("/en/", "/old", "/new")
    made.answers["/old"] = Answer(b"", 301, {"location": "/new"})
    made.page("/new", text="here")
    memory = Memory()
    walk = await crawl(made, memory, include=["/new"])
    assert (paths(walk, made), made.visits("/new")) == (["/new"], [200])
    assert paths(await crawl(made), made) == ["/en/", "/new"]
    made.answers["/"] = Answer(b"", 302, {"location": "/"})
    assert paths(await crawl(made), made, NoDocument) == ["/"]
    for number in range(9):
        made.answers[f"/hop/{number}"] = Answer(b"", 302, {"location": f"/hop/{number + 1}"})
    with pytest.raises(SourceError) as caught:
        await crawl(made, url=f"{made.url}/hop/0")
    assert caught.value.code == "origin_failed"


class OneName(Outbound):
    """Takes one name to the test's server, as if it had a public address; everything else is as the guard sees it."""

    async def connect(self, host: str, port: int, *, tls: bool) -> socket.socket:
        if host == "docs.example.com":
            return await ANYWHERE.connect("127.0.0.1", port, tls=tls)
        return await Outbound.connect(self, host, port, tls=tls)


async def test_a_redirect_to_a_private_address_is_refused(made: Site) -> None:
    """Whatever it is called, and although the source's owner named those hosts: nobody but the operator lets sources in
    there."""
    inside = ["127.0.0.1", "localhost", "169.254.169.254", "10.0.0.1"]
    made.page("/", *(f"/to/{number}" for number in range(len(inside))))
    for number, host in enumerate(inside):
        made.answers[f"/to/{number}"] = Answer(b"", 302, {"location": f"http://{host}:{made.port}/secret"})
    made.page("/secret", text="internal")
    hosts = tuple(f"{host}:{made.port}" for host in inside)
    config = WebsiteConfig(url=f"http://docs.example.com:{made.port}/", hosts=hosts, delay_seconds=0, sitemap=False)
    async with session(OneName()) as http, asyncio.timeout(20):
        walk = await Memory().walk(WebsiteOrigin(config, {}, http))
        assert walk.named(Fetched) == [f"http://docs.example.com:{made.port}/"]
        assert made.visits("/secret") == []
        refused = {one.origin: one.code for one in walk.findings if isinstance(one, Failed)}
        assert refused == {f"http://{host}:{made.port}/secret": "address_refused" for host in inside}
        assert made.visits().count(302) == len(inside)
        start = WebsiteConfig(url=f"http://docs.example.com:{made.port}/to/0", delay_seconds=0, sitemap=False)
        with pytest.raises(SourceError) as caught:
            await Memory().walk(WebsiteOrigin(start, {}, http))
        assert (caught.value.code, made.visits("/secret")) == ("address_refused", [])


async def test_sitemaps_lead_to_pages(made: Site) -> None:
    made.answers["/robots.txt"] = Answer(
        f"Sitemap: {made.url}/index.xml\nSitemap: http://other.example/x.xml\n".encode()
    )
    further = "".join(f"<sitemap><loc>{made.url}/{name}</loc></sitemap>" for name in ("pages.xml.gz", "index.xml"))
    made.answers["/index.xml"] = Answer(f"<sitemapindex>{further}</sitemapindex>".encode())
    listed = "".join(f"<url><loc>{made.url}/{name}</loc></url>" for name in ("island", "gone"))
    made.answers["/pages.xml.gz"] = Answer(
        gzipped(f"<urlset>{listed}</urlset>"), headers={"content-type": "application/x-gzip"}
    )
    made.page("/")
    made.page("/island")
    walk = await crawl(made, sitemap=True)
    assert (paths(walk, made), paths(walk, made, NoDocument), walk.incomplete) == (["/", "/island"], ["/gone"], [])
    made.answers["/pages.xml.gz"] = Answer(b"", 500)
    walk = await crawl(made, sitemap=True)
    assert "pages.xml.gz cannot be read" in walk.incomplete[0], "and so nothing that it named is taken for gone"


async def test_a_site_without_a_sitemap_answers_with_any_page(made: Site) -> None:
    made.page("/")
    made.page("/sitemap.xml", text="Nothing here <br> & no XML")
    walk = await crawl(made, sitemap=True)
    assert (paths(walk, made), walk.incomplete) == (["/"], [])


async def test_pages_that_want_no_index_and_what_is_no_document(made: Site) -> None:
    made.page("/", "/hidden", "/quiet", "/a.png", "/paper")
    made.page("/hidden", "/below", head='<meta name="robots" content="noindex">')
    made.page("/quiet", "/never", **{"x-robots-tag": "nofollow"})
    made.page("/below")
    made.answers["/a.png"] = Answer(b"\x89PNG", headers={"content-type": "image/png"})
    made.answers["/paper"] = Answer(b"%PDF-1.4 ...", headers={"content-type": "application/pdf"})
    walk = await crawl(made)
    assert paths(walk, made) == ["/", "/below", "/paper", "/quiet"]
    assert paths(walk, made, NoDocument) == ["/a.png", "/hidden"]
    paper = walk.fetched(f"{made.url}/paper")
    assert (paper.name, paper.mime_type) == ("paper.pdf", "application/pdf")
    assert made.visits("/never") == []


async def test_huge_pages_and_bombs_are_refused(made: Site) -> None:
    made.page("/", "/huge", "/endless", "/bomb", "/small")
    made.answers["/huge"] = Answer(b"x" * 300_000, headers={"content-type": "text/plain"})
    made.answers["/endless"] = Answer(
        b"x" * 300_000, headers={"content-type": "text/plain", "content-length": "chunked"}
    )
    made.answers["/bomb"] = Answer(
        gzip.compress(b"x" * 50_000_000), headers={"content-type": "text/html", "content-encoding": "gzip"}
    )
    made.page("/small")
    walk = await crawl(made, page_bytes_max=100_000)
    assert paths(walk, made) == ["/", "/small"]
    assert {one.origin.removeprefix(made.url): one.code for one in walk.findings if isinstance(one, Failed)} == {
        "/huge": "too_large",
        "/endless": "too_large",
        "/bomb": "too_large",
    }


async def test_a_sync_of_a_site_that_is_down_changes_nothing(made: Site) -> None:
    made.page("/", *(f"/{number}" for number in range(30)))
    memory = Memory()
    for number in range(30):
        made.page(f"/{number}")
    await crawl(made, memory)
    for number in range(30):
        made.answers[f"/{number}"] = Answer(b"", 500)
    made.asked.clear()
    with pytest.raises(SourceError) as caught:
        await crawl(made, memory)
    assert (caught.value.code, caught.value.retryable, made.visits().count(500)) == ("origin_failed", True, 10)


async def test_a_busy_site_is_asked_once_more(made: Site) -> None:
    made.page("/", "/a")
    made.answers["/a"] = Answer(b"", 429, {"retry-after": "0"})
    walk = await crawl(made)
    assert (made.visits("/a"), walk.named(Failed)) == ([429, 429], [f"{made.url}/a"])
    assert "stay as they were" in walk.incomplete[0]


@pytest.mark.parametrize(
    ("status", "code"), [(404, "origin_not_found"), (500, "origin_failed"), (401, "origin_refused")]
)
async def test_a_start_that_is_not_there(made: Site, status: int, code: str) -> None:
    made.answers["/"] = Answer(b"", status)
    with pytest.raises(SourceError) as caught:
        await crawl(made)
    assert caught.value.code == code


async def test_a_stored_credential_is_sent_to_its_own_host_only(made: Site) -> None:
    async with site() as other:
        made.page("/", f"{other.url}/x")
        other.page("/x")
        walk = await crawl(made, secrets={"authorization": "Bearer s3cret"}, hosts=(f"127.0.0.1:{other.port}",))
        assert len(walk.named(Fetched)) == 2
        assert all(headers["authorization"] == "Bearer s3cret" for _, _, headers in made.asked)
        assert other.asked
        assert not any("authorization" in headers for _, _, headers in other.asked)


async def test_nobody_there() -> None:
    async with session() as http:
        config = WebsiteConfig(url="http://127.0.0.1:9/", delay_seconds=0)
        with pytest.raises(SourceError) as caught:
            await Memory().walk(WebsiteOrigin(config, {}, http))
    assert caught.value.code == "robots_unreachable"


def html(*links: str, head: str = "", **headers: str) -> Answer:
    body = "".join(f'<a href="{link}">x</a>' for link in links)
    page = f"<html><head>{head}</head><body><p>words</p>{body}</body></html>"
    return Answer(page.encode(), headers={"content-type": "text/html", **headers})


async def test_a_page_under_several_addresses_is_one_item(made: Site) -> None:
    made.answers["/"] = html("/a?utm_source=x&page=2", "/a?page=2&fbclid=1", "/b/", "/b", "/c?print=1", "/c", "/d")
    made.answers["/a?page=2"] = html()
    made.answers["/b/"] = html()
    made.answers["/c?print=1"] = html("/only-from-print", head='<link rel="canonical" href="/c">')
    made.answers["/c"] = html(head='<link rel="canonical" href="/c">')
    made.answers["/d"] = html(link='</c>; rel="canonical"')
    made.answers["/only-from-print"] = html()
    memory = Memory()
    for _ in range(2):
        walk = await crawl(made, memory)
        read = sorted(paths(walk, made) + paths(walk, made, Unchanged))
        assert read == ["/", "/a?page=2", "/b/", "/c", "/only-from-print"]
        assert sorted(paths(walk, made, NoDocument)) == ["/c?print=1", "/d"]


async def test_where_a_page_says_it_belongs_is_believed_only_where_that_is_there(made: Site) -> None:
    canonical = '<link rel="canonical" href="{}">'.format
    made.answers["/"] = html("/gone", "/about", "/one", "/elsewhere", "/slash")
    made.answers["/gone"] = html(head=canonical("/nowhere"))
    made.answers["/about"] = html(head=canonical("/"))
    made.answers["/one"] = html(head=canonical("/two"))
    made.answers["/two"] = html(head=canonical("/one"))
    made.answers["/elsewhere"] = html(head=canonical("https://elsewhere.example/x"))
    made.answers["/slash/"] = html()
    walk = await crawl(made)
    assert sorted(paths(walk, made)) == ["/", "/about", "/elsewhere", "/gone", "/two"]
    made.answers["/"] = html("/slash", "/slash/")
    assert sorted(paths(await crawl(made), made)) == ["/", "/slash/"]


async def test_a_page_that_only_leads_on_is_followed(made: Site) -> None:
    refresh = '<meta http-equiv="Refresh" content="{}">'.format
    made.answers["/"] = html("/old", "/news")
    made.answers["/old"] = html(head=refresh("0; URL='/new'"))
    made.answers["/new"] = html()
    made.answers["/news"] = html(head=refresh("300"))
    walk = await crawl(made)
    assert sorted(paths(walk, made)) == ["/", "/new", "/news"]
    assert paths(walk, made, NoDocument) == ["/old"]


async def test_sitemaps_of_several_gzip_members_and_of_plain_lines(made: Site) -> None:
    made.page("/")
    names = ("/a", "/b", "/c")
    for name in names:
        made.page(name)
    xml = "<urlset>{}</urlset>".format("".join(f"<url><loc>{made.url}{name}</loc></url>" for name in names[:2]))
    half = len(xml) // 2
    made.answers["/s.xml.gz"] = Answer(gzip.compress(xml[:half].encode()) + gzip.compress(xml[half:].encode()))
    made.answers["/s.txt"] = Answer(f"{made.url}/c\n".encode())
    made.answers["/robots.txt"] = Answer(f"Sitemap: {made.url}/s.xml.gz\nSitemap: {made.url}/s.txt\n".encode())
    assert sorted(paths(await crawl(made, sitemap=True), made)) == ["/", "/a", "/b", "/c"]
