"""The guide of people: its shell as it stands."""

from pathlib import Path

import pytest

from tests.support.pasting import need_curl, pasted
from tests.support.processes import KEY, serve, url_of


@pytest.mark.timeout(90)
async def test_the_guide_works_when_pasted(room: Path) -> None:
    need_curl()
    home = room / "people-guide"
    home.mkdir()
    async with serve(home / "data", STOA_BOOTSTRAP_KEY=KEY) as (_, said):
        printed = await pasted(
            "people.md", home, ("http://localhost:8080", url_of(said), 1), STOA_DATA_DIR=str(home / "data")
        )
    assert '"error"' not in printed
    assert "ada@example.com is owner of the organization" in printed
    assert '"email":"ada@example.com","first_name":"Ada"' in printed
    assert '"user":{"id"' in printed
    assert printed.count("stoa_pat_") == 3, "Bob's first token; the notebook's, and its preview"
    assert '"role":"member"' in printed
