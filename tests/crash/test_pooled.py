"""Behind PgBouncer nothing is lost, repeated or stuck either; `python -m tests.crash --pooled --long` does more."""

from pathlib import Path

import pytest

from tests.support.crashes.campaign import campaign
from tests.support.crashes.pooled import POOLED, PooledField


@pytest.mark.timeout(240)
async def test_no_promise_is_broken_behind_pgbouncer(room: Path) -> None:
    report = await campaign(
        room / "pooled",
        faults=40,
        fates=len(POOLED),
        seed=20261130,
        every=0.3,
        clients=4,
        kinds=POOLED,
        kind_of_field=PooledField,
    )
    assert set(POOLED) <= set(report.faults)
    assert (report.lost, report.repeated) == (0, 0)
    assert not any(report.doctor.values())
