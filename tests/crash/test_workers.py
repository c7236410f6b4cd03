"""A short campaign on several workers with a bucket; `python -m tests.crash --workers 3 --long` makes thousands of
faults."""

from pathlib import Path

import pytest

from tests.support.crashes.campaign import campaign
from tests.support.crashes.workers import WORKER_FATES, WorkersField


@pytest.mark.timeout(240)
async def test_several_workers_with_a_bucket_keep_every_promise(room: Path) -> None:
    report = await campaign(
        room / "crash-workers",
        faults=40,
        seed=20261130,
        clients=4,
        fates=len(WORKER_FATES),
        every=0.3,
        kinds=WORKER_FATES,
        kind_of_field=WorkersField,
    )
    assert set(WORKER_FATES) <= set(report.faults), "every kind of fault has happened"
    assert (report.lost, report.repeated) == (0, 0)
    assert report.runs > 0
    assert not any(report.doctor.values())
