"""Due instants of triggers over a shift of daylight saving, on nodes that are killed: each fires exactly once."""

from pathlib import Path

import pytest

from tests.support.crashes.trigger_storm import storm


@pytest.mark.timeout(120)
async def test_each_due_time_starts_one_run_despite_kills(dsn: str, room: Path) -> None:
    """A thousand triggers over two shifts: bench/triggers.py."""
    report = await storm(dsn, room / "triggers", triggers=36, nodes=3, kills=4, factor=4_000, windows=1, seed=20260329)
    assert report.instants == report.accepted + report.missed == 30
    assert report.accepted >= 12, "those whose catch_up is all; a crowded machine is late for others"
