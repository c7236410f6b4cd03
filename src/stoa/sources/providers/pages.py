"""Parses a page of HTML for a crawler: its title, its links, and its robots directives. Pure."""

import re
from dataclasses import dataclass
from typing import Final

from selectolax.lexbor import LexborHTMLParser
from yarl import URL

from stoa.sources.providers.urls import canonical

READ_BYTES_MAX: Final = 2 * 1024 * 1024
"""The limit of links that are read: a larger page is data."""
LINKS_MAX: Final = 1_000
REFRESH_SECONDS_MAX: Final = 10
"""A slower refresh lets people read the page first, so it is not a redirect."""
_REFRESH: Final = re.compile(r"\s*(\d{0,6})[\d.]*\s*[;,]\s*(?:url\s*=\s*)?(.+)", re.IGNORECASE | re.DOTALL)
_HOME: Final = re.compile(r"^/?$|/(?:index|default|home)(?:\.\w+)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Page:
    title: str | None
    links: tuple[URL, ...]
    noindex: bool
    nofollow: bool
    canonical: URL | None = None
    """The page's canonical URL, if it is another."""
    refresh: URL | None = None
    """The target of a quick meta refresh."""


def read(html: bytes, url: URL, robots_header: str) -> Page:
    """`robots_header` is the response's X-Robots-Tag."""
    tree = LexborHTMLParser(html[:READ_BYTES_MAX])
    wishes = robots_header.lower()
    for tag in tree.css("meta[name]"):
        if (tag.attributes.get("name") or "").lower() in ("robots", "stoa"):
            wishes += f",{(tag.attributes.get('content') or '').lower()}"
    words = {word.strip().rpartition(":")[2].strip() for word in wishes.split(",")}
    title = tree.css_first("title")
    text = " ".join(title.text().split())[:500] if title is not None else ""
    nofollow = bool(words & {"nofollow", "none"})
    base = tree.css_first("base[href]")
    against = (canonical(base.attributes.get("href") or "", url) if base is not None else None) or url
    return Page(
        text or None,
        () if nofollow else _links(tree, against),
        bool(words & {"noindex", "none"}),
        nofollow,
        _canonical(tree, url, against),
        _refresh(tree, url, against),
    )


def _canonical(tree: LexborHTMLParser, url: URL, base: URL) -> URL | None:
    """A canonical URL that names the home page is ignored: templates set it on every page."""
    for tag in tree.css("link[rel][href]"):
        if "canonical" in (tag.attributes.get("rel") or "").lower().split():
            found = canonical(tag.attributes.get("href") or "", base)
            is_home = found is not None and found.raw_path == "/" and not found.raw_query_string
            return None if found == url or (is_home and not _HOME.search(url.raw_path)) else found
    return None


def _refresh(tree: LexborHTMLParser, url: URL, base: URL) -> URL | None:
    for tag in tree.css("meta[http-equiv][content]"):
        if (tag.attributes.get("http-equiv") or "").strip().lower() == "refresh":
            refresh = _REFRESH.match(tag.attributes.get("content") or "")
            found = (
                canonical(refresh[2].strip("'\" "), base)
                if refresh and float(refresh[1] or 0) <= REFRESH_SECONDS_MAX
                else None
            )
            return None if found == url else found
    return None


def _links(tree: LexborHTMLParser, base: URL) -> tuple[URL, ...]:
    found: dict[URL, None] = {}
    for tag in tree.css("a[href], area[href]"):
        if "nofollow" not in (tag.attributes.get("rel") or "").lower().split() and (
            link := canonical(tag.attributes.get("href") or "", base)
        ):
            found[link] = None
            if len(found) >= LINKS_MAX:
                break
    return tuple(found)
