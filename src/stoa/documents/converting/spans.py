"""Merged cells: each cell of the range holds its text, so that every row says all. Pure."""

from typing import Final

SPAN_MAX: Final = 1_000


def span(given: str | None) -> int:
    """How many cells, from an attribute that may be missing or nonsense."""
    return min(max(int(given), 1), SPAN_MAX) if given and given.isdigit() and len(given) < 9 else 1


def spanned(text: str, given: str | None) -> list[str]:
    return [text] * span(given)
