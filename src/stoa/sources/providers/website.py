"""A website: its sitemaps and its links, page by page, as its robots.txt and Crawl-delay allow.

A page that was fetched before is requested with its ETag or date; if it is unchanged, the answer is a 304 and its links
are the stored ones. A sync that continues after a crash takes settled pages from the database and fetches only the
others.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from ssl import SSLContext
from time import monotonic
from typing import Any, Final

import aiohttp
from yarl import URL

from stoa.sources.configs import WebsiteConfig
from stoa.sources.globs import Globs
from stoa.sources.ports import Remember
from stoa.sources.providers import pages, sitemaps
from stoa.sources.providers.frontier import Address, Frontier
from stoa.sources.providers.robots import Robots, robots_of
from stoa.sources.providers.urls import canonical, host_of, page_name
from stoa.sources.providers.web import Answer, Web, WebError
from stoa.sources.types import Failed, Fetched, Finding, Incomplete, Known, NoDocument, SourceError, Unchanged

SITEMAPS_MAX: Final = 50
HOPS_MAX: Final = 5
FAILURES_MAX: Final = 10
"""After so many failed pages in a row the site is considered down, and the walk ends."""
WAIT_SECONDS_MAX: Final = 20.0
_PASSING: Final = frozenset({"origin_unreachable", "origin_timeout", "origin_failed", "robots_unreachable"})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_LINK: Final = re.compile(r"<([^<>]{1,2000})>\s*;[^,<]{0,200}\brel\s*=\s*\"?canonical\b", re.IGNORECASE)
_HTML: Final = frozenset({"text/html", "application/xhtml+xml"})
_UNREAD: Final = (
    "image/",
    "audio/",
    "video/",
    "font/",
    "text/css",
    "text/javascript",
    "application/javascript",
    "application/zip",
    "application/x-",
    "application/rss+xml",
    "application/atom+xml",
)


@dataclass(frozen=True, slots=True)
class _Visit:
    """`finding` is None for an address that this sync has settled already.

    `blind`: its links are unknown, so pages that only they lead to must not be deleted.
    """

    finding: Finding | None
    links: Sequence[URL] = ()
    redirect: URL | None = None
    blind: bool = False
    waits: bool = False
    """Set while it is unknown whether its canonical page exists."""

    @property
    def is_there(self) -> bool:
        return self.redirect is not None or self.finding is None or isinstance(self.finding, Fetched | Unchanged)


class WebsiteOrigin:
    def __init__(
        self,
        config: WebsiteConfig,
        secrets: Mapping[str, str],
        session: aiohttp.ClientSession,
        tls: SSLContext | None = None,
    ) -> None:
        start = canonical(config.url)
        if start is None:
            raise SourceError("origin_not_found", f"{config.url} is no address of a page.")
        self._config = config
        self._start = start
        self._web = Web(session, tls, home=start, authorization=secrets.get("authorization"))
        self._globs = Globs(config.include, config.exclude)
        self._hosts = frozenset({host_of(start), *config.hosts})
        self._robots: dict[str, Robots] = {}
        self._asked_at: dict[str, float] = {}

    async def walk(self, remember: Remember) -> AsyncGenerator[Finding]:
        robots = await self._robots_of(self._start)
        if robots.trouble is not None:
            raise SourceError(robots.trouble.code, robots.trouble.message, retryable=robots.trouble.retryable)
        if not robots.allow(self._start):
            raise SourceError("origin_refused", f"The robots.txt of {self._start.host} does not allow {self._start}.")
        frontier = Frontier(self._start)
        named, troubles = await self._sitemap_pages(robots) if self._config.sitemap else ((), ())
        self._enqueue(frontier, named, depth=0)
        for trouble in troubles:
            yield Incomplete(trouble)
        visited = failures = 0
        while frontier:
            address = frontier.take()
            if visited >= self._config.pages_max:
                yield Incomplete(
                    f"The site has more than {self._config.pages_max} pages (pages_max); the others were left out."
                )
                return
            visited += 1
            [known] = await remember([str(address.url)])
            visit = await self._visit(address, known, frontier)
            if visit.finding is not None:
                failures = failures + 1 if isinstance(visit.finding, Failed) else 0
                self._give_up(address, visit.finding, failures)
                yield visit.finding
            if visit.blind:
                yield Incomplete(f"{address.url} could not be read; pages that only it links to stay as they were.")
            if not visit.waits:
                for other in frontier.resolve(address, there=visit.is_there):
                    yield NoDocument(str(other.url), {"redirect": str(address.url)})
            if visit.redirect is not None:
                self._follow(frontier, address, visit.redirect)
            if address.depth < self._config.depth_max:
                self._enqueue(frontier, visit.links, depth=address.depth + 1)

    def _enqueue(
        self, frontier: Frontier, urls: Sequence[URL], *, depth: int, hops: int = 0, exact: bool = False
    ) -> None:
        for url in urls:
            if self._is_of_the_site(url):
                frontier.add(url, depth, hops, exact=exact)

    def _is_of_the_site(self, url: URL) -> bool:
        return host_of(url) in self._hosts and self._globs.take_url(url.raw_path)

    def _follow(self, frontier: Frontier, address: Address, target: URL) -> None:
        """Adds a redirect's target as one more address, with the usual checks of robots.txt, hosts and private
        addresses. A site that redirects to another host as a whole (www.) is followed there."""
        if address.hops >= HOPS_MAX:
            if address.start:
                raise SourceError("origin_failed", f"{self._start} redirects more than {HOPS_MAX} times.")
            return
        if not address.start:
            self._enqueue(frontier, [target], depth=address.depth, hops=address.hops + 1, exact=True)
        else:
            self._hosts |= {host_of(target)}
            frontier.add_start(target, address)

    def _give_up(self, address: Address, finding: Finding, failures: int) -> None:
        """Raises SourceError where the walk cannot continue: the start page is missing, or the site is down."""
        if isinstance(finding, Failed) and (address.start or failures >= FAILURES_MAX):
            raise SourceError(finding.code, finding.message, retryable=finding.code in _PASSING)
        if address.start and isinstance(finding, NoDocument) and finding.state.get("status"):
            raise SourceError("origin_not_found", f"{address.url} is not there ({finding.state['status']}).")

    # --- one page ---------------------------------------------------------------------------------------------------
    async def _visit(self, address: Address, known: Known, frontier: Frontier) -> _Visit:
        url, origin = address.url, str(address.url)
        links, redirect, blind = self._links(known.state), canonical(known.state.get("redirect", "")), not known.state
        if known.done:
            return _Visit(None, links, redirect)
        robots = await self._robots_of(url)
        if robots.trouble is None and not robots.allow(url):
            return _Visit(NoDocument(origin, {"robots": True}))
        try:
            if robots.trouble is not None:
                raise robots.trouble
            answer = await self._ask(url, self._conditions(known.state))
        except WebError as error:
            return _Visit(Failed(origin, error.code, error.message), links, redirect, blind)
        if answer.status == 304 and known.state:
            return _Visit(Unchanged(origin), links, redirect)
        if answer.content is not None:
            return await self._read(address, answer, frontier)
        if answer.status in _REDIRECTS and "location" in answer.headers:
            target = canonical(answer.headers["location"], url)
            return _Visit(NoDocument(origin, {"redirect": str(target or "")}), redirect=target)
        if answer.status == 200:
            return _Visit(NoDocument(origin, {"type": answer.mime_type}))
        if answer.status in (404, 410):
            return _Visit(NoDocument(origin, {"status": answer.status}))
        code = "origin_refused" if answer.status in (401, 402, 403, 451) else "origin_failed"
        return _Visit(Failed(origin, code, f"{url.host} answered {answer.status}."), links, redirect, blind)

    async def _read(self, address: Address, answer: Answer, frontier: Frontier) -> _Visit:
        assert answer.content is not None
        url, content, kind = address.url, answer.content, answer.mime_type or "text/html"
        state: dict[str, Any] = {
            "etag": answer.headers.get("etag", ""),
            "last_modified": answer.headers.get("last-modified", ""),
            "links": [],
        }
        page = pages.Page(None, (), "noindex" in answer.headers.get("x-robots-tag", "").lower(), False)
        if kind in _HTML:
            html = content.file.read(pages.READ_BYTES_MAX)
            content.file.seek(0)
            page = await asyncio.to_thread(pages.read, html, url, answer.headers.get("x-robots-tag", ""))
            state["links"] = [str(link) for link in page.links if host_of(link) in self._hosts]
        if page.refresh is not None and host_of(page.refresh) in self._hosts:
            content.file.close()
            gone = {"links": state["links"], "redirect": str(page.refresh)}
            return _Visit(NoDocument(str(url), gone), page.links, redirect=page.refresh)
        if page.noindex or not self._globs.take_url(url.raw_path):  # The links of the start page are read in any case.
            content.file.close()
            return _Visit(NoDocument(str(url), state), page.links)
        belongs_to = _linked_canonical(answer, url) or page.canonical
        if belongs_to is not None and not address.own and self._is_of_the_site(belongs_to):
            there = frontier.hold(address, belongs_to)
            if there is not False:
                content.file.close()
                moved = NoDocument(str(url), {"links": state["links"], "redirect": str(belongs_to)})
                return _Visit(moved if there else None, page.links, waits=there is None)
        metadata = {"source": str(url), "url": str(url), **({"title": page.title} if page.title else {})}
        return _Visit(Fetched(str(url), page_name(url, kind), kind, content, metadata, state), page.links)

    def _links(self, state: Mapping[str, Any]) -> Sequence[URL]:
        return [link for text in state.get("links", ()) if (link := canonical(text))]

    def _conditions(self, state: Mapping[str, Any]) -> dict[str, str]:
        conditions = {"If-None-Match": state.get("etag"), "If-Modified-Since": state.get("last_modified")}
        return {name: value for name, value in conditions.items() if value}

    # --- requests ---------------------------------------------------------------------------------------------------
    async def _ask(self, url: URL, headers: Mapping[str, str]) -> Answer:
        """Repeats a request once when the site answers 429 or 503. Raises WebError."""
        answer = await self._slowly(url, headers, self._config.page_bytes_max, _is_document)
        if answer.status in (429, 503):
            await asyncio.sleep(
                min(answer.retry_after_seconds if answer.retry_after_seconds is not None else 1.0, WAIT_SECONDS_MAX)
            )
            answer = await self._slowly(url, headers, self._config.page_bytes_max, _is_document)
        return answer

    async def _slowly(
        self, url: URL, headers: Mapping[str, str], bytes_max: int, wanted: Callable[[Answer], bool]
    ) -> Answer:
        host = host_of(url)
        robots = self._robots.get(host)
        delay = max(self._config.delay_seconds, robots.delay_seconds if robots else 0)
        if host in self._asked_at:
            await asyncio.sleep(max(0.0, self._asked_at[host] + delay - monotonic()))
        try:
            return await self._web.get(url, headers, bytes_max, wanted)
        finally:
            self._asked_at[host] = monotonic()

    async def _robots_of(self, url: URL) -> Robots:
        host = host_of(url)
        if host not in self._robots:
            self._robots[host] = await robots_of(self._web, url)
        return self._robots[host]

    async def _sitemap_pages(self, robots: Robots) -> tuple[Sequence[URL], Sequence[str]]:
        """The pages that the sitemaps name, and the sitemaps that could not be read."""
        declared = [found for text in robots.sitemaps if (found := canonical(text, self._start))]
        waiting, seen = deque(declared or [self._start.with_path("/sitemap.xml").with_query(None)]), set[URL]()
        pages_named: dict[URL, None] = {}
        troubles: list[str] = []
        while waiting and len(seen) < SITEMAPS_MAX and len(pages_named) < self._config.pages_max:
            url = waiting.popleft()
            if url in seen or host_of(url) not in self._hosts:
                continue
            guessed = not declared and not seen
            seen.add(url)
            try:
                sitemap = await self._sitemap(url)
            except (WebError, sitemaps.SitemapError) as error:
                # A sitemap at the default address that robots.txt does not name: a site may answer with any page.
                if not (guessed and isinstance(error, sitemaps.SitemapError)):
                    troubles.append(f"The sitemap {url} cannot be read: {error}")
                continue
            pages_named |= {page: None for text in sitemap.pages if (page := canonical(text, url))}
            waiting.extend(further for text in sitemap.sitemaps if (further := canonical(text, url)))
        return list(pages_named), troubles

    async def _sitemap(self, url: URL) -> sitemaps.Sitemap:
        """Raises WebError or SitemapError."""
        answer = await self._slowly(url, {}, sitemaps.UNPACKED_BYTES_MAX, lambda answer: answer.status == 200)
        if answer.status >= 500 or answer.status == 429:
            raise WebError("origin_failed", f"{url.host} answered {answer.status}.", retryable=True)
        if answer.content is None:
            return sitemaps.Sitemap((), ())
        with answer.content.file as file:
            return await asyncio.to_thread(sitemaps.parse, file, self._config.pages_max)


def _linked_canonical(answer: Answer, url: URL) -> URL | None:
    """The canonical URL in a document's Link header (RFC 6596)."""
    found = _LINK.search(answer.headers.get("link", ""))
    target = canonical(found[1], url) if found else None
    return None if target == url else target


def _is_document(answer: Answer) -> bool:
    return answer.status == 200 and not answer.mime_type.startswith(_UNREAD)
