"""The journal, built: its writer, the newest events of live runs in memory, and the checks of the doctor."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stoa.http.component import Component, Kit
from stoa.journal.checks import checks
from stoa.journal.exported import EXPORTED
from stoa.journal.live_buffer import LiveBuffer
from stoa.journal.service import Journal
from stoa.journal.writer import JournalWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalComponent(Component):
    journal: Journal
    writer: JournalWriter


@asynccontextmanager
async def open_component(kit: Kit) -> AsyncGenerator[JournalComponent]:
    live = LiveBuffer()
    writer = JournalWriter(kit.dsn, live, kit.clock, kit.database.notifier)
    journal = Journal(kit.database, writer, live)
    yield JournalComponent(
        journal=journal,
        writer=writer,
        checks=checks(kit.database),
        exported=EXPORTED,
        metrics=writer.metrics(),
        channels={"stoa_journal": journal.on_notification},
        background=[writer],
        vital=[writer.heartbeat],
        after_gap=[live.wake_all],
    )
