"""The guide of triggers: its shell as it stands."""

from pathlib import Path

import pytest

from tests.support.pasting import need_curl, pasted
from tests.support.processes import KEY, serve, url_of


@pytest.mark.timeout(90)
async def test_the_guide_works_when_pasted(room: Path) -> None:
    need_curl()
    home = room / "triggers-guide"
    home.mkdir()
    async with serve(home / "data", STOA_BOOTSTRAP_KEY=KEY) as (_, said):
        printed = await pasted("triggers.md", home, ("stoa_acc_…", KEY, 1), ("http://localhost:8080", url_of(said), 1))
    assert '"error"' not in printed
    assert printed.count('"local_time"') >= 3
    assert printed.count('"status":"accepted"') >= 2
    assert printed.count('"total_count":1}') == 2, "a run by hand, and one delivery that was sent twice"
    assert printed.rstrip().endswith('{"message":"deleted"}')
