"""A short campaign; `python -m tests.crash --long` makes ten thousand faults."""

from pathlib import Path

import pytest

from tests.support.crashes.campaign import FATES, campaign


@pytest.mark.timeout(240)
async def test_no_promise_is_broken_by_any_fault(room: Path) -> None:
    report = await campaign(room / "crash", faults=150, seed=20261125, fates=len(FATES), every=0.3)
    assert report.faults.total() >= 150
    assert set(FATES) <= set(report.faults), "every kind of fault has happened"
    assert (report.lost, report.repeated) == (0, 0)
    assert report.recoveries > 0, "no fault met a running run: the campaign proves nothing"
    assert report.effects["once"] > 0
    assert report.endings["run.completed"] > report.runs / 2
    assert not any(report.doctor.values())
