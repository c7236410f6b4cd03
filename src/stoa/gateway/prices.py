"""What tokens cost: the operator's price table, and a guess where nobody counted. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from stoa.gateway.types import Usage

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens of the models whose slug matches (`openai/gpt-*`). Cached tokens cost like others
    unless given."""

    model: str
    prompt: float
    completion: float
    cached: float | None = None

    def of(self, usage: Usage) -> float:
        cached = self.prompt if self.cached is None else self.cached
        fresh = max(usage.prompt_tokens - usage.cached_tokens, 0)
        return (
            fresh * self.prompt + usage.cached_tokens * cached + usage.completion_tokens * self.completion
        ) / _MILLION


def price_of(slug: str, table: Sequence[Price]) -> Callable[[Usage], float | None]:
    """By the table's first line that matches; None where none does: an unknown price is not a price of nothing."""
    price = next((line for line in table if fnmatchcase(slug, line.model)), None)
    return price.of if price is not None else _unknown


def estimated_tokens(characters: int) -> int:
    """Where a provider sent no usage: four characters to a token, as its own tokenizers come near for prose."""
    return -(-characters // 4)


def _unknown(_: Usage) -> None:
    return None
