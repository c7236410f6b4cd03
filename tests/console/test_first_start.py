"""What a start prints while nobody owns the server, and what it writes into its log."""

from pathlib import Path

import pytest

from stoa.cli.banner import banner
from stoa.settings import Settings
from tests.support.browsers import browser
from tests.support.doubles import ScriptedModel
from tests.support.running import serving


async def test_the_first_owners_link_is_printed_and_not_logged(
    dsn: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with serving(dsn, tmp_path, ScriptedModel()) as running:
        link = running.server.owner_link
        assert link is not None
        printed = banner(Settings(public_url="https://stoa.example/"), running.server, 8080, "here")
        assert f"  https://stoa.example/console/welcome#{link}" in printed
        async with browser(running) as client:
            assert (await client.get(f"/console/welcome?{link}")).status_code == 200, "as somebody may mistype it"
            form = {"token": f"{running.url}/console/welcome#{link}", "email": "ada@example.com"}
            assert (await client.post("/console/welcome", data={**form, "password": "short"})).status_code == 400
            entered = await client.post("/console/welcome", data={**form, "password": "correct horse battery"})
            assert entered.status_code == 303
    said = "".join(capfd.readouterr())
    assert '"path": "/console/welcome"' in said, "the log was read"
    assert link.removeprefix("stoa_own_") not in said
    async with serving(dsn, tmp_path, ScriptedModel()) as again:
        assert again.server.owner_link is None
        assert not any("/console/welcome" in line for line in banner(Settings(), again.server, 8080, "here"))
