"""The guide of memory, skills and artifacts: its shell as it stands."""

from pathlib import Path

import pytest

from tests.support.pasting import need_curl, pasted
from tests.support.processes import KEY, serve, url_of


@pytest.mark.timeout(90)
async def test_the_guide_works_when_pasted(room: Path) -> None:
    need_curl()
    home = room / "memory-guide"
    home.mkdir()
    async with serve(home / "data", STOA_BOOTSTRAP_KEY=KEY) as (_, said):
        printed = await pasted("memory.md", home, ("stoa_acc_…", KEY, 1), ("http://localhost:8080", url_of(said), 1))
    assert '"error"' not in printed
    assert "Minerva" in printed.split("What is my cat called?")[1].split('"usage"')[0], (
        "the other session is remembered"
    )
    assert '"total_count":4' in printed
    assert '"instructions":"Ask for the order number, then why."' in printed
    assert printed.count("# Q3, corrected") == 2, "by its download and by its link"
    assert '"deleted_count":4' in printed
    assert '"verified_at"' in printed.rstrip().rsplit("\n", 1)[-1]
