"""Cursors, and what an OTLP endpoint's answers mean."""

from datetime import UTC, datetime

import pytest

from stoa.kernel.errors import BadRequest
from stoa.traces import rules
from stoa.traces.export import headers_of, rejected_of
from stoa.traces.types import Place


def test_a_cursor_is_read_as_it_was_written() -> None:
    at = Place(datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC), "trace/ä\"'")
    assert rules.place(rules.cursor(at)) == at


@pytest.mark.parametrize("text", ["", "x", "bnVsbA", "W10", "WzEsMl0", "WyIyMDI2LTAzLTAxIiwiYSJd", "ä"])
def test_an_invalid_cursor_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        rules.place(text)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *((status, "delivered") for status in (200, 202, 204)),
        *((status, "again") for status in (302, 401, 403, 404, 408, 429, 500, 502, 503, 504)),
        *((status, "refused") for status in (400, 409, 413, 415, 422)),
    ],
)
def test_the_status_decides_about_another_attempt(status: int, verdict: str) -> None:
    assert rules.verdict(status) == verdict


def test_waits_grow_and_respect_the_receiver() -> None:
    waits = [rules.backoff(failures, 0.5, None) for failures in range(12)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (5.0, 300.0)
    assert rules.backoff(0, 0.5, rules.seconds_after("90")) == 90.0
    assert [rules.seconds_after(text) for text in (None, "", "soon", "999999")] == [None, None, None, 3600.0]


def test_headers_of_the_environment() -> None:
    assert headers_of("a=b%20c, d = e=f ,nothing") == {"a": "b c", "d": "e=f"}


def test_a_receivers_answer_may_be_anything() -> None:
    assert rejected_of(b'{"partialSuccess": {"rejectedSpans": "2", "errorMessage": "old"}}', "application/json") == (
        2,
        "old",
    )
    for body in (b"", b"\xff", b"[]", b"null", b"{}"):
        for kind in ("application/json", "application/x-protobuf", ""):
            assert rejected_of(body, kind) == (0, "")
