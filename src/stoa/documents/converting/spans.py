"""Merged cells: each covered cell repeats the text, so that every row is complete. Pure."""

from typing import Final

SPAN_MAX: Final = 1_000


def span(given: str | None) -> int:
    """The number of cells, from an attribute that may be missing or invalid."""
    return min(max(int(given), 1), SPAN_MAX) if given and given.isdigit() and len(given) < 9 else 1


def spanned(text: str, given: str | None) -> list[str]:
    return [text] * span(given)
