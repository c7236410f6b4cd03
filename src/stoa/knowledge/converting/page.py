"""What every reader gives: Markdown and where it stands."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """`number` counts from 1; None where the format has no pages."""

    markdown: str
    number: int | None
