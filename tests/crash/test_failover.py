"""The database fails over to its standby in the middle of streams; `python -m tests.crash --failover --long` does it
more often, with more streams."""

from pathlib import Path

import pytest

from tests.support.crashes.campaign import campaign
from tests.support.crashes.failover import FAILOVERS, FailoverField


@pytest.mark.timeout(240)
async def test_no_promise_is_broken_by_a_failover(room: Path) -> None:
    report = await campaign(
        room / "failover",
        faults=len(FAILOVERS),
        fates=len(FAILOVERS),
        seed=20261130,
        clients=20,
        kinds=FAILOVERS,
        kind_of_field=FailoverField,
    )
    assert set(FAILOVERS) <= set(report.faults)
    assert (report.lost, report.repeated) == (0, 0)
    assert set(FAILOVERS) <= set(report.resumed_seconds), "streams were under way each time"
    assert not any(report.doctor.values())
