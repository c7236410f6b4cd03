"""The guide of workflows and apps: its shell as it stands."""

import time
from pathlib import Path
from typing import Any

import pytest

from stoa.callbacks import rules
from tests.support.pages import ROOT, blocks
from tests.support.pasting import need_curl, pasted
from tests.support.processes import KEY, serve, url_of


def test_the_guide_s_receiver_checks_signatures() -> None:
    (block,) = blocks(ROOT / "docs/guide/apps.md", "python")
    names: dict[str, Any] = {}
    exec(block, names)  # As a reader would paste it.
    verify, now, body = names["verify"], int(time.time()), b'{"type": "run.completed"}'
    old, new = (rules.new_secret(bytes([number] * rules.SECRET_BYTES)) for number in (1, 2))
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now),
        "webhook-signature": rules.signatures([new, old], "msg_1", now, body),
    }
    for secret in (old, new):
        verify(secret, headers, body)
    for wrong, sent in (({"webhook-id": "msg_2"}, body), ({"webhook-timestamp": str(now - 301)}, body), ({}, b"{}")):
        with pytest.raises(ValueError, match=r"signed|old"):
            verify(new, {**headers, **wrong}, sent)


@pytest.mark.timeout(90)
async def test_the_guide_works_when_pasted(room: Path) -> None:
    need_curl()
    home = room / "apps-guide"
    home.mkdir()
    async with serve(home / "data", STOA_BOOTSTRAP_KEY=KEY) as (_, said):
        printed = await pasted("apps.md", home, ("stoa_acc_…", KEY, 1), ("http://localhost:8080", url_of(said), 1))
    assert not [line for line in printed.splitlines() if line.startswith('{"error"')]
    assert printed.count('"status":"completed"') >= 4
    assert "event: run.completed" in printed
    assert '"access_type":"public"' in printed
    assert '"path":"agent.instructions"' in printed
    assert '"step":"answer"' in printed
    assert '"status":"incomplete"' in printed
    assert '"status":"complete","unsatisfied":[]' in printed
    assert "whsec_" in printed
    assert printed.rstrip().endswith('{"message":"deleted"}')
