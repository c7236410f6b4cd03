"""`stoa doctor`: checks the database directly, or calls a server with --url.

Direct access works without a running server, and covers all organizations, which no key can. With --url it is an
ordinary client with the permissions of its key.
"""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.status import Status
from rich.table import Table

from stoa.app import open_doctor
from stoa.cli.client import request
from stoa.cli.stream.transport import Transport
from stoa.db.checks import Check, Scope
from stoa.db.embedded import start_embedded
from stoa.doctor import Day, Doctor, Repaired, Report
from stoa.doctor.wire import report
from stoa.kernel.telemetry import configure_logs
from stoa.settings import Settings


class NoDatabase(Exception):
    """There is no database to check. The message says where it was searched."""


def run(
    settings: Settings,
    *,
    since: datetime | None,
    repair: bool,
    full: bool,
    seconds_max: float,
    as_json: bool,
    out: Console,
    errors: Console,
) -> bool:
    """True if every check was completed without violations (or they were repaired). `full` also checks days that were
    verified before."""
    configure_logs("error", "console")
    call = _Call(Scope(since=since), full, seconds_max, errors)
    return asyncio.run(_run(settings, call, repair=repair, as_json=as_json, out=out))


def ask(transport: Transport, since: datetime | None, *, as_json: bool, out: Console) -> bool:
    """The same for one organization, over HTTP. Raises StoaError."""
    path = f"/v1/doctor?since={quote(since.isoformat())}" if since else "/v1/doctor"
    found = transport.json(request("GET", path))["data"]
    show(found, [], as_json=as_json, out=out)
    return bool(found["healthy"])


@dataclass(frozen=True, slots=True)
class _Call:
    """The arguments of one call of the doctor, and the console for its progress."""

    scope: Scope
    full: bool
    seconds_max: float
    errors: Console


async def _run(settings: Settings, call: _Call, *, repair: bool, as_json: bool, out: Console) -> bool:
    async with database_of(settings) as dsn, open_doctor(settings, dsn) as doctor:
        found = await _examine(doctor, call)
        repaired: list[Repaired] = []
        if repair and found.broken:
            repaired = [done async for done in doctor.repair(found)]
            found = await _examine(doctor, call)
        show(report(found).model_dump(mode="json", exclude_none=True), repaired, as_json=as_json, out=out)
        return found.healthy


async def _examine(doctor: Doctor, call: _Call) -> Report:
    with Status("Looking …", console=call.errors) as status:

        def looking(check: Check, day: Day, things: int) -> None:
            if things % 1_000 == 0:
                when = f" {day.start:%Y-%m-%d}" if day.start else ""
                status.update(f"{check.promise}{when}{f' ({things:,} looked at)' if things else ''}")

        return await doctor.examine(call.scope, seconds_max=call.seconds_max, looking=looking, full=call.full)


def show(found: dict[str, Any], repaired: Sequence[Repaired], *, as_json: bool, out: Console) -> None:
    if as_json:
        done = [
            {"check": one.check, "subject": one.finding.subject, "detail": one.finding.detail, "done": one.done}
            for one in repaired
        ]
        sys.stdout.write(json.dumps({**found, "repaired": done}, indent=1) + "\n")
        return
    table = Table("check", "broken", "promise", box=None)
    for check in found["checks"]:
        count = f"{check['count']}{'+' if check['more'] or check['status'] != 'complete' else ''}"
        table.add_row(
            check["name"],
            count,
            check["promise"],
            style="red" if check["count"] else "yellow" if check["status"] != "complete" else None,
        )
    out.print(table)
    for one in repaired:
        out.print(
            f"{'repaired' if one.done else 'not repaired'}: {one.check}, {one.finding.subject}: {one.finding.detail}",
            markup=False,
        )
    for check in found["checks"]:
        if check["status"] == "stopped":
            out.print(
                f"\n{check['name']} did not end in its time: {_left(check)}",
                markup=False,
            )
        elif check["status"] == "failed":
            out.print(f"\n{check['name']} could not be made; the log says why.", markup=False)
        if check["count"]:
            out.print(f"\n{check['name']}: {check['remedy']}", markup=False)
            for example in check["examples"]:
                out.print(
                    f"  {example['subject']} (organization {example['org_id']}): {example['detail']}", markup=False
                )
    out.print(f"\nfiles     {found['data']['files']}\ndatabase  {found['data']['database']}", markup=False)
    out.print(
        "\nNothing is broken."
        if found["healthy"]
        else f"\n{found['broken']} broken promises."
        if found["complete"]
        else f"\n{found['broken']} broken promises, and not everything was looked at."
    )


def _left(check: dict[str, Any]) -> str:
    left = check.get("days", {}).get("left", 0)
    if left > 1:
        return f"{left} days are left. Call it again, and it goes on with them, or give it more with --seconds."
    return "narrow it with --since, or give it more with --seconds."


@asynccontextmanager
async def database_of(settings: Settings) -> AsyncGenerator[str]:
    """The DSN of the operator's database, bypassing a pooler, or of the embedded database in the data directory. Raises
    NoDatabase."""
    url = settings.database_session_url or settings.database_url
    if url is not None:
        yield url.get_secret_value()
        return
    if not settings.data_dir.is_dir():
        raise NoDatabase(
            f"There is no data in {settings.data_dir.resolve()}. Name the data directory with --data-dir, or set"
            " STOA_DATABASE_URL."
        )
    embedded = await start_embedded(settings.data_dir.resolve())
    try:
        yield embedded.dsn
    finally:
        await embedded.stop()
