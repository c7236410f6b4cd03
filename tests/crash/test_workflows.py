"""A server dies between any two statements of a graph's run, also amid parallel nodes: no node runs twice.

The suite tries some of the moments; `python -m tests.crash --workflows` tries all of them.
"""

from pathlib import Path

import pytest

from tests.support.crashes.dying_graph import deaths


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.timeout(240)
async def test_death_in_the_middle_of_a_graph(dsn: str, room: Path, tmp_path: Path, idempotent: bool) -> None:
    died = await deaths(dsn, room / f"graph-{idempotent}", tmp_path, (3, 9, 12, 15, 19, 24), idempotent=idempotent)
    assert died >= 4
