"""Forty files and three kills; `python -m tests.support.crashes.knowledge --long` takes five hundred and forty."""

from pathlib import Path

import pytest

from tests.support.crashes.knowledge import campaign


@pytest.mark.timeout(180)
async def test_killed_servers_leave_no_item_behind_and_no_orphans(room: Path) -> None:
    report = await campaign(room / "crash-knowledge", files=40, operations=5, kills=3, seed=20261124)
    assert report.kills.total() == 3
    assert report.done["replaced"] > 10
    assert report.done["deleted"] >= 1
    assert report.searches > 30
