"""Path patterns as in .gitignore: `*` within a segment, `**` over any number of them, `?` and `[abc]` for one
character. Pure.

A pattern without a slash matches at any depth; one that ends in a slash matches everything below it. Patterns are
matched segment by segment, so that no pattern takes exponential time.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from urllib.parse import unquote

from stoa.sources import rules


class Globs:
    """Which paths a source takes: those that match some `include` (all, where there is none) and no `exclude`."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = [_pattern(one) for one in include]
        self._exclude = [_pattern(one) for one in exclude]

    def take(self, path: str) -> bool:
        segments = path.strip("/").split("/")
        if self._include and not any(_matches(segments, pattern) for pattern in self._include):
            return False
        return not any(_matches(segments, pattern) for pattern in self._exclude)

    def take_file(self, path: str) -> bool:
        """The same for a file; one that contains no text is left out unless an `include` names it."""
        return self.take(path) and (bool(self._include) or not rules.unread(path))

    def take_url(self, path: str) -> bool:
        """The same for a URL's path, percent-decoded."""
        return self.take(unquote(path))


def _pattern(text: str) -> list[str]:
    segments = text.strip("/").split("/")
    if "/" not in text.rstrip("/"):
        segments.insert(0, "**")
    if text.endswith("/"):
        segments.append("**")
    return segments


def _matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """`reached` holds the numbers of path segments that the pattern so far can match."""
    reached = {0}
    for part in pattern:
        further = (
            range(min(reached), len(path) + 1)
            if part == "**"
            else (at + 1 for at in reached if at < len(path) and fnmatchcase(path[at], part))
        )
        reached = set(further)
        if not reached:
            return False
    return len(path) in reached
