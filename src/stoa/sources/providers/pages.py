"""What a page of HTML says to a crawler: its title, its links, and what it does not want. Pure."""

from dataclasses import dataclass
from typing import Final

from selectolax.lexbor import LexborHTMLParser
from yarl import URL

from stoa.sources.providers.urls import canonical

READ_BYTES_MAX: Final = 2 * 1024 * 1024
"""Links beyond are not looked for: a page of that size is data."""
LINKS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Page:
    title: str | None
    links: tuple[URL, ...]
    noindex: bool
    nofollow: bool


def read(html: bytes, url: URL, robots_header: str) -> Page:
    """`robots_header` is the X-Robots-Tag of the answer."""
    tree = LexborHTMLParser(html[:READ_BYTES_MAX])
    wishes = robots_header.lower()
    for tag in tree.css("meta[name]"):
        if (tag.attributes.get("name") or "").lower() in ("robots", "stoa"):
            wishes += f",{(tag.attributes.get('content') or '').lower()}"
    words = {word.strip().rpartition(":")[2].strip() for word in wishes.split(",")}
    title = tree.css_first("title")
    text = " ".join(title.text().split())[:500] if title is not None else ""
    nofollow = bool(words & {"nofollow", "none"})
    return Page(text or None, () if nofollow else _links(tree, url), bool(words & {"noindex", "none"}), nofollow)


def _links(tree: LexborHTMLParser, url: URL) -> tuple[URL, ...]:
    base = tree.css_first("base[href]")
    against = canonical(base.attributes.get("href") or "", url) if base is not None else None
    found: dict[URL, None] = {}
    for tag in tree.css("a[href], area[href]"):
        if "nofollow" not in (tag.attributes.get("rel") or "").lower().split() and (
            link := canonical(tag.attributes.get("href") or "", against or url)
        ):
            found[link] = None
            if len(found) >= LINKS_MAX:
                break
    return tuple(found)
