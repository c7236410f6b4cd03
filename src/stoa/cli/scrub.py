"""`stoa scrub`: rewrites the files of the embedded or the operator's database, with or without a running server."""

import asyncio
from collections.abc import Callable, Sequence

from stoa.db.embedded import start_embedded
from stoa.db.scrub import Scrubbed, ScrubError, scrub
from stoa.settings import Settings


def run(settings: Settings, tell: Callable[[str], None]) -> Sequence[str]:
    """Returns sentences about what could not be done. Raises ScrubError and EmbeddedError."""
    done = asyncio.run(_scrub(settings, tell))
    tell(f"{done.tables} tables rewritten: {done.bytes_before >> 10:,} KiB, now {done.bytes_after >> 10:,} KiB")
    if not done.left:
        tell(f"Nothing deleted is left in the database's files; {done.deletions} receipts say so now (scrubbed_at).")
    return done.left


async def _scrub(settings: Settings, tell: Callable[[str], None]) -> Scrubbed:
    if settings.database_url is not None:
        url = settings.database_session_url or settings.database_url
        return await scrub(url.get_secret_value(), tell)
    if not (settings.data_dir / "postgres").is_dir():
        raise ScrubError(f"There is no database in {settings.data_dir.resolve()}; name its directory with --data-dir.")
    embedded = await start_embedded(settings.data_dir.resolve())
    try:
        done = await scrub(embedded.dsn, tell)
        await embedded.empty_log()
        return done
    finally:
        await embedded.stop()
