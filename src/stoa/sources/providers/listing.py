"""What origins with a listing have in common: only documents whose listed state changed are fetched."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from stoa.sources import rules
from stoa.sources.ports import Remember
from stoa.sources.types import Failed, Finding, Unchanged

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """An entry of a listing. A changed `state` means a changed document; `place` is what fetching it needs."""

    origin: str
    state: Mapping[str, Any]
    place: T


async def changed(
    part: Sequence[Listed[T]], remember: Remember, fetch: Callable[[Listed[T]], Awaitable[Finding]]
) -> AsyncGenerator[Finding]:
    """The findings for a batch of entries."""
    named: list[Listed[T]] = []
    for one in part:
        if rules.usable(one.origin):
            named.append(one)
        else:
            yield Failed(rules.shown(one.origin), "name_unusable", "The name is too long, or is no text.")
    for one, known in zip(named, await remember([one.origin for one in named]), strict=True):
        if known.done:
            continue
        if known.state and known.state == one.state:
            yield Unchanged(one.origin)
        else:
            yield await fetch(one)
