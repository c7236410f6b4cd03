"""A server dies between any two statements of a run that edits a note and remembers: each happens once."""

from pathlib import Path

import pytest

from tests.support.crashes.dying_memory import deaths


@pytest.mark.timeout(240)
async def test_death_of_an_agent_that_remembers(dsn: str, room: Path, tmp_path: Path) -> None:
    died = await deaths(dsn, room / "memory", tmp_path, (4, 9, 12, 14, 16, 18, 20, 22, 25))
    assert died >= 5
