"""Times of pages: what the server says is what the page's script says."""

from datetime import UTC, datetime, timedelta

import pytest

from stoa.console import times, words

NOW = datetime(2026, 6, 10, 9, 11, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "english", "german"),
    [
        (-3, "just now", "gerade eben"),
        (44, "just now", "gerade eben"),
        (-50, "50 sec. ago", "vor 50 Sek."),
        (-100, "2 min. ago", "vor 2 Min."),
        (3 * 60, "in 3 min.", "in 3 Min."),
        (-7_200, "2 hr. ago", "vor 2 Std."),
        (-90_000, "yesterday", "gestern"),
        (90_000, "tomorrow", "morgen"),
        (-9 * 86_400, "9 days ago", "vor 9 Tagen"),
        (6 * 86_400, "in 6 days", "in 6 Tagen"),
        (-40 * 86_400, "2026-05-01", "2026-05-01"),
    ],
)
def test_a_time_is_relative_to_now(seconds: int, english: str, german: str) -> None:
    at = NOW + timedelta(seconds=seconds)
    said = [times.relative(at, NOW, words.translator(language)) for language in ("en", "de")]
    assert said == [english, german]


def test_the_exact_time_is_the_tooltip() -> None:
    shown = times.when("2026-06-10T11:10:02+02:00", words.translator("en"), NOW)
    assert shown == '<time datetime="2026-06-10T11:10:02+02:00" title="2026-06-10 09:10:02 UTC">1 min. ago</time>'
    assert times.when(None, words.translator("en")) == times.MISSING
