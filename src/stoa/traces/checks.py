"""The doctor's checks of traces."""

from collections.abc import Sequence
from typing import Final

from stoa.db import load
from stoa.db.checks import Check, stated_by_day

SQL: Final = load("stoa.traces", "checks.sql")
_RESTORE: Final = "Send a span of the trace again, or delete the trace."


def checks() -> Sequence[Check]:
    return [
        Check(
            "traces.sums",
            "The row of a trace counts its spans and their tokens right.",
            stated_by_day(SQL.sums),
            _RESTORE,
            by_day=True,
        ),
        Check("traces.orphans", "Every span belongs to a trace.", stated_by_day(SQL.orphans), _RESTORE, by_day=True),
    ]
