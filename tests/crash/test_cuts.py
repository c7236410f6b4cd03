"""200 cuts at random moments; `python -m tests.crash --long` makes 2,000."""

from pathlib import Path

import pytest

from tests.crash.campaign import campaign


@pytest.mark.timeout(240)
async def test_what_was_seen_is_a_prefix_and_a_resume_gives_the_rest(room: Path) -> None:
    report = await campaign(room / "crash", cuts=200, seed=20261123, kills=12)
    assert report.cuts.total() >= 200
    assert (report.lost, report.repeated) == (0, 0)
    assert report.recoveries > 0, "no kill met a running run: the campaign proves nothing"
    # A run that lost its node three times is given up, as promised; nothing else may end one.
    assert set(report.endings) <= {"run.completed", "failed: attempts_exhausted"}
    assert report.endings["run.completed"] > report.runs / 2
