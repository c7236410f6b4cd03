"""The addresses that a crawl has yet to visit. Each page is visited once, under whatever addresses its links and its
canonical URL name it. Pure.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from yarl import URL

from stoa.sources import rules
from stoa.sources.providers.urls import same_page


@dataclass(frozen=True, slots=True)
class Address:
    """`start`: the source's address, or the target of its redirect. It must exist, and its links are read whatever
    `include` says. `own`: store the page under this address and ignore its canonical URL, whose page does not exist.
    """

    url: URL
    depth: int
    hops: int = 0
    start: bool = False
    own: bool = False


class Frontier:
    def __init__(self, start: URL) -> None:
        self._queue = deque([Address(start, 0, start=True)])
        self._queued = {start}
        self._spellings: dict[URL, list[URL]] = {same_page(start): [start]}
        self._resolved: dict[URL, bool] = {}
        self._held: dict[URL, list[Address]] = {}

    def __bool__(self) -> bool:
        return bool(self._queue)

    def take(self) -> Address:
        return self._queue.popleft()

    def add(self, url: URL, depth: int, hops: int = 0, *, exact: bool = False) -> None:
        """Adds at the end, unless present. `exact`: even where a present address differs only in a trailing slash."""
        if url in self._queued or len(self._queued) >= rules.ENTRIES_MAX:
            return
        spellings = self._spellings.setdefault(same_page(url), [])
        if url not in spellings:
            spellings.append(url)
        if exact or len(spellings) == 1:
            self._queued.add(url)
            self._queue.append(Address(url, depth, hops))

    def add_start(self, url: URL, address: Address) -> None:
        """Adds as the next address, as the start of the walk."""
        if url not in self._queued:
            self._queued.add(url)
            self._spellings.setdefault(same_page(url), []).append(url)
            self._queue.appendleft(Address(url, address.depth, address.hops + 1, start=True))

    def hold(self, address: Address, belongs_to: URL) -> bool | None:
        """Whether an address's canonical page exists. None while that is unknown: the canonical page is visited next,
        and `resolve` then returns the address."""
        if belongs_to in self._resolved:
            return self._resolved[belongs_to]
        if any(held.url == belongs_to for waiting in self._held.values() for held in waiting):
            return False  # Each names the other as canonical.
        if belongs_to not in self._queued and len(self._queued) >= rules.ENTRIES_MAX:
            return False
        self._held.setdefault(belongs_to, []).append(address)
        if belongs_to not in self._queued:
            self._queued.add(belongs_to)
            self._queue.appendleft(Address(belongs_to, address.depth, address.hops))
        return None

    def resolve(self, address: Address, *, there: bool) -> Sequence[Address]:
        """The addresses that are the same page as this one, if it exists; otherwise they are visited again, each as a
        page of its own."""
        self._resolved[address.url] = there
        waiting = self._held.pop(address.url, [])
        if not there:
            self._queue.extendleft(replace(one, own=True) for one in waiting)
            for url in self._spellings.get(same_page(address.url), ()):
                self.add(url, address.depth, address.hops, exact=True)
            return ()
        further = [found for one in waiting for found in self.resolve(one, there=True)]
        return [*waiting, *further]
