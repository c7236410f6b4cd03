"""The operator's prices and facts of models, and estimates of tokens. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fnmatch import fnmatchcase
from typing import TypeVar

from stoa.gateway.types import Capabilities, Usage

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens of the models whose slug matches (`openai/gpt-*`). Tokens that a provider reads
    from its cache, or writes into it, cost the same as others unless given. `source` and `as_of` say where and when the
    price was read."""

    model: str
    prompt: float
    completion: float
    cached: float | None = None
    source: str | None = None
    as_of: date | None = None
    cache_write: float | None = None

    def of(self, usage: Usage) -> float:
        cached = self.prompt if self.cached is None else self.cached
        written = self.prompt if self.cache_write is None else self.cache_write
        fresh = max(usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens, 0)
        prompt = fresh * self.prompt + usage.cached_tokens * cached + usage.cache_write_tokens * written
        return (prompt + usage.completion_tokens * self.completion) / _MILLION


@dataclass(frozen=True, slots=True)
class Facts:
    """The operator's facts about the models whose slug matches. They override what the provider lists or the name
    suggests."""

    model: str
    context_tokens: int | None = None
    output_tokens: int | None = None
    images: bool | None = None
    tools: bool | None = None
    source: str | None = None
    as_of: date | None = None

    def of(self, found: Capabilities) -> Capabilities:
        return replace(
            found,
            context_tokens=self.context_tokens or found.context_tokens,
            output_tokens_max=self.output_tokens or found.output_tokens_max,
            images=found.images if self.images is None else self.images,
            tools=found.tools if self.tools is None else self.tools,
        )


Line = TypeVar("Line", Price, Facts)


def price_of(slug: str, table: Sequence[Price]) -> Callable[[Usage], float | None]:
    """By the first matching line of the table. None where none matches: an unknown price is not zero."""
    price = line_of(slug, table)
    return price.of if price is not None else _unknown


def line_of(slug: str, table: Sequence[Line]) -> Line | None:
    """The first matching line of the table."""
    return next((line for line in table if fnmatchcase(slug, line.model)), None)


def estimated_tokens(characters: int) -> int:
    """An estimate for a provider that sent no usage: four characters per token, which is close for prose."""
    return -(-characters // 4)


def _unknown(_: Usage) -> None:
    return None
