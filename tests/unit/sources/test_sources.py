"""Pure parts of sources: patterns, schedules, addresses of pages, what a page says, sitemaps, Amazon's signature."""

import io
import time
from datetime import UTC, datetime

import pytest
from yarl import URL

from stoa.outbound import signing
from stoa.sources import rules
from stoa.sources.globs import Globs
from stoa.sources.providers import pages, sitemaps
from stoa.sources.providers.urls import canonical, page_name
from tests.support.origins import gzipped

NOW = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("pattern", "taken", "left"),
    [
        ("*.md", ["a.md", "x/y/a.md"], ["a.txt", "a.md/b"]),
        ("/*.md", ["a.md"], ["x/a.md"]),
        ("docs/**", ["docs/a", "docs/x/y", "docs"], ["other/docs/a"]),
        ("docs/**/*.md", ["docs/a.md", "docs/x/y/a.md"], ["docs/a.txt"]),
        ("drafts/", ["drafts/a", "x/drafts/y/z"], ["drafts.md", "xdrafts/a"]),
        ("a/*/c", ["a/b/c"], ["a/c", "a/b/b/c"]),
        ("note-?.txt", ["note-1.txt"], ["note-12.txt"]),
        ("[ab].md", ["a.md"], ["c.md"]),
        ("**", ["a", "a/b"], []),
        ("a/**/b/**/c", ["a/b/c", "a/x/b/y/z/c"], ["a/c"]),
        ("A.md", ["A.md"], ["a.md"]),
    ],
)
def test_patterns(pattern: str, taken: list[str], left: list[str]) -> None:
    include, exclude = Globs([pattern], []), Globs([], [pattern])
    for path, expected in [(path, True) for path in taken] + [(path, False) for path in left]:
        assert include.take(path) is expected, path
        assert exclude.take(path) is not expected, path


def test_no_pattern_takes_long() -> None:
    begun = time.monotonic()
    assert not Globs(["/".join(["**", "a*a*a*a*"] * 20)], []).take("/".join(["a" * 200] * 300) + "/b")
    assert time.monotonic() - begun < 2


def test_exclusion_wins() -> None:
    globs = Globs(["docs/**"], ["docs/private/", "*.tmp"])
    assert [path for path in ("docs/a.md", "docs/private/a.md", "docs/a.tmp", "a.md") if globs.take(path)] == [
        "docs/a.md"
    ]
    assert Globs(["/größe/**"], []).take_url("/gr%C3%B6%C3%9Fe/x")


@pytest.mark.parametrize(
    ("schedule", "zone", "expected"),
    [
        ("15m", "UTC", "2026-03-28T12:15:00+00:00"),
        ("2d", "UTC", "2026-03-30T12:00:00+00:00"),
        ("0 13 * * *", "UTC", "2026-03-28T13:00:00+00:00"),
        (
            "0 13 * * *",
            "Europe/Berlin",
            "2026-03-29T11:00:00+00:00",
        ),  # 13:00 has passed there; the clocks go forward in that night.
        ("30 2 * * *", "Europe/Berlin", "2026-03-29T01:00:00+00:00"),  # 02:30 does not exist in that night.
        ("0 0 1 1 *", "UTC", "2027-01-01T00:00:00+00:00"),
        ("*/5 * * * MON", "UTC", "2026-03-30T00:00:00+00:00"),
    ],
)
def test_schedules(schedule: str, zone: str, expected: str) -> None:
    found = rules.next_sync(schedule, zone, NOW)
    assert found is not None
    assert found.isoformat() == expected


def test_an_interval_begins_at_once_and_cron_when_it_says() -> None:
    assert rules.first_sync("6h", "UTC", NOW) == NOW
    assert rules.first_sync("0 13 * * *", "UTC", NOW) == datetime(2026, 3, 28, 13, tzinfo=UTC)
    assert rules.first_sync(None, "UTC", NOW) is None


@pytest.mark.parametrize(
    ("gone", "items", "found", "withheld"),
    [
        (0, 0, 0, False),
        (1, 1, 0, True),
        (1, 1, 1, False),
        (9, 9, 1, False),
        (10, 20, 10, False),
        (11, 20, 10, True),
        (10, 1_000, 990, False),
    ],
)
def test_suspiciously_many_deletions_are_withheld(gone: int, items: int, found: int, *, withheld: bool) -> None:
    assert rules.withheld(gone, items, found) is withheld


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HTTP://Example.COM:80/a/../b?q=1#part", "http://example.com/b?q=1"),
        ("//other.example/x", "https://other.example/x"),
        ("", "https://example.com/docs/page"),
        ("?page=2", "https://example.com/docs/page?page=2"),
        ("mailto:a@b.c", None),
        ("javascript:void(0)", None),
        ("https://u:p@example.com/", None),
        ("https://[bad", None),
        ("/" + "x" * 3_000, None),
        ("https://example.com", "https://example.com/"),
        ("/größe x", "https://example.com/gr%C3%B6%C3%9Fe%20x"),
        ("https://exämple.com/", "https://xn--exmple-cua.com/"),
        ("https://example.com./", "https://example.com/"),
        ("/a?utm_source=x&q=%C3%A4&gclid=1", "https://example.com/a?q=%C3%A4"),
        ("/a?utm_source=x", "https://example.com/a"),
        ("/a?utm=1&fbclidx=2", "https://example.com/a?utm=1&fbclidx=2"),
    ],
)
def test_one_spelling_of_an_address(text: str, expected: str | None) -> None:
    found = canonical(text, URL("https://example.com/docs/page"))
    assert (str(found) if found is not None else None) == expected


def test_names_of_pages() -> None:
    names = {
        "/": "index.html",
        "/docs/intro": "intro.html",
        "/docs/v1.2": "v1.2.html",
        "/a.htm": "a.htm",
        "/a.HTML": "a.HTML",
        "/gr%C3%B6%C3%9Fe/": "größe.html",
    }
    assert {path: page_name(URL(f"https://e.com{path}", encoded=True), "text/html") for path in names} == names
    assert page_name(URL("https://e.com/paper"), "application/pdf") == "paper.pdf"


def test_what_a_page_says() -> None:
    html = b"""<html><head><title> A
      title </title><base href="/deep/"><meta name=ROBOTS content="NoIndex"></head><body>
      <a href="a">A</a><a href="/b#x">B</a><a href="/b">B</a><a rel="nofollow" href="/c">C</a><a>none</a><a href="https://e.org/d">D</a></body>"""
    page = pages.read(html, URL("https://e.com/x"), "")
    assert (page.title, page.noindex, page.nofollow) == ("A title", True, False)
    assert [str(link) for link in page.links] == ["https://e.com/deep/a", "https://e.com/b", "https://e.org/d"]
    assert pages.read(html, URL("https://e.com/x"), "stoa: nofollow").links == ()
    assert pages.read(b"\x00\xff" * 1_000, URL("https://e.com/x"), "") == pages.Page(
        None, (), noindex=False, nofollow=False
    )
    assert len(pages.read(b"<a href='/%d'></a>" * 1, URL("https://e.com/"), "").links) == 1
    many = b"".join(b"<a href='/%d'></a>" % number for number in range(5_000))
    assert len(pages.read(many, URL("https://e.com/"), "").links) == pages.LINKS_MAX


def test_sitemaps() -> None:
    text = (
        "<urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'>"
        "<url><loc> https://e.com/a </loc></url><url><loc>/b</loc></url></urlset>"
    )
    for raw in (text.encode(), gzipped(text)):
        assert sitemaps.parse(io.BytesIO(raw), 10) == sitemaps.Sitemap(("https://e.com/a", "/b"), ())
    assert sitemaps.parse(io.BytesIO(text.encode()), 1).pages == ("https://e.com/a",)
    index = b"<sitemapindex><sitemap><loc>/one.xml</loc></sitemap></sitemapindex>"
    assert sitemaps.parse(io.BytesIO(index), 10).sitemaps == ("/one.xml",)
    laughs = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><urlset><url><loc>&b;</loc></url></urlset>'
    for broken in (b"", b"<html><p>", laughs, gzipped("x")[:10], gzipped(" " * 60_000_000)):
        with pytest.raises(sitemaps.SitemapError):
            sitemaps.parse(io.BytesIO(broken), 10)


@pytest.mark.parametrize(
    ("path", "query", "headers", "signature"),
    [
        ("/test.txt", [], {"Range": "bytes=0-9"}, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
        ("/", [("lifecycle", "")], {}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            "/",
            [("max-keys", "2"), ("prefix", "J")],
            {},
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_amazon_s_own_examples(
    path: str, query: list[tuple[str, str]], headers: dict[str, str], signature: str
) -> None:
    """Of the page "Signature Calculations for the Authorization Header" in Amazon's documentation of S3."""
    made = signing.signed(
        "examplebucket.s3.amazonaws.com",
        path,
        query,
        key_id="AKIAIOSFODNN7EXAMPLE",
        secret="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        token=None,
        region="us-east-1",
        now=datetime(2013, 5, 24, tzinfo=UTC),
        headers=headers,
    )
    assert made["Authorization"].endswith(f"Signature={signature}")


def test_names_that_cannot_be_stored_are_still_shown() -> None:
    assert not rules.usable("a\udcff") and not rules.usable("x" * 2_001) and not rules.usable("a\0")  # noqa: PT018
    assert (rules.shown("a\udcff\0"), len(rules.shown("ü" * 2_000).encode()) <= rules.ORIGIN_BYTES_MAX) == (
        "a\\udcff\\0",
        True,
    )
    assert [rules.item_name(name) for name in ("a/b.md", "/", "", "x\ny", "n" * 300 + ".pdf")] == [
        "b.md",
        "index",
        "index",
        "x_y",
        "n" * 150 + "n" * 46 + ".pdf",
    ]


def test_what_holds_no_text() -> None:
    assert [
        path
        for path in ("a.png", "b.MP4", "c.tar.gz", "d.woff2", "e.md", "f.ts", "g", "h.pdf", "i.py", "j.zip")
        if rules.unread(path)
    ] == [
        "a.png",
        "b.MP4",
        "c.tar.gz",
        "d.woff2",
    ]
