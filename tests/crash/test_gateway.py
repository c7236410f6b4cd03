"""A short campaign of the gateway; `python -m tests.crash --gateway --long` kills somebody at every byte."""

from pathlib import Path

import pytest

from tests.support.crashes.gateway import gateway_campaign


@pytest.mark.timeout(240)
async def test_the_bill_is_what_providers_say_whoever_is_killed(room: Path) -> None:
    report = await gateway_campaign(room / "crash-gateway", seed=20261130, every=211, at_once=60, kills=1)
    resumables = ("client of a resumable", "server of a resumable", "server of a fallback's resumable")
    kinds = ("provider", "client asking", "client reading", "server", *resumables)
    assert all(report.faults[kind] for kind in kinds), report.faults
    assert report.exact
    assert report.estimated
    assert report.resumed
