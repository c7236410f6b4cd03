"""A tail is contiguous, or it is none: what it does not hold is read from the table."""

from uuid import UUID

from stoa.journal import Record, Tails

RUN = UUID(int=1)


def records(first: int, last: int) -> list[Record]:
    return [Record(sequence, 3, b"{}") for sequence in range(first, last + 1)]


def test_a_run_that_went_elsewhere_and_came_back_leaves_no_gap() -> None:
    tails = Tails()
    tails.publish(RUN, records(1, 16))
    tails.publish(RUN, records(18, 19))  # Another node wrote 17.
    assert tails.recent(RUN, 16) is None
    assert [record.sequence for record in tails.recent(RUN, 17) or ()] == [18, 19]
