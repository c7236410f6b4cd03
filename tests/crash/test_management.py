"""A server dies between any two statements of a change: nothing is half made, and who asks again gets one answer.

The suite tries some of the moments; `python -m tests.crash --management` tries all of them.
"""

from pathlib import Path

import pytest

from tests.support.crashes.dying_management import KINDS, deaths


@pytest.mark.timeout(240)
async def test_death_in_the_middle_of_a_change(dsn: str, room: Path, tmp_path: Path) -> None:
    found = await deaths(dsn, room / "management", tmp_path, (5, 11))
    assert found.died == 2
    assert found.undone + found.done == 2 * len(KINDS)
    assert found.undone >= len(KINDS)
    assert found.done, "short changes were over, and nobody had heard of them"
