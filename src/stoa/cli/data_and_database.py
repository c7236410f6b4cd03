"""The data directory, and the server's database: embedded, or the operator's."""

import contextlib
import os
import stat
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from stoa.db.embedded import start_embedded
from stoa.db.embedded.cluster import CONNECTIONS_MAX
from stoa.db.servers import addresses_of
from stoa.kernel.supervise import Supervisor
from stoa.settings import Settings

OWNER_ONLY: Final = 0o077
"""The umask of the server: its directories and files have mode 0700 and 0600."""


def close_data(settings: Settings) -> None:
    """Creates the data directory with access for its owner only."""
    # Also if this node uses another database: a second node may have its embedded one in the same directory.
    embedded = settings.database_url is None or (settings.data_dir / "postgres").exists()
    close_to_others(settings.data_dir, pass_through=embedded and _is_root())


def close_to_others(data_dir: Path, *, pass_through: bool) -> None:
    """Makes the data directory, for its owner alone. `pass_through`: the database runs as another account, which must
    reach its part below.

    A directory that is there already is closed when it is plainly ours: not one that others share, such as /tmp.
    """
    mode = 0o711 if pass_through else 0o700
    made = not data_dir.exists()
    data_dir.mkdir(mode=mode, parents=True, exist_ok=True)
    if sys.platform == "win32":
        return
    found = data_dir.stat()
    ours = made or any((data_dir / name).exists() for name in ("secret.key", "postgres"))
    if ours and found.st_uid == os.geteuid() and not found.st_mode & stat.S_ISVTX:
        data_dir.chmod(mode)
        for below in ("artifacts", "blobs", "calls", "copies", "knowledge", "models", "sources"):
            with contextlib.suppress(FileNotFoundError):
                (data_dir / below).chmod(0o700)


def _is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


@asynccontextmanager
async def database(settings: Settings, connections_max: int = CONNECTIONS_MAX) -> AsyncGenerator[tuple[str, str]]:
    """(dsn, where the data is). Starts the embedded PostgreSQL for the time of the context, unless the operator's is
    configured."""
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        yield url, f"{_servers(url)}{urlsplit(url).path} (files in {settings.data_dir.resolve()})"
        return
    embedded = await start_embedded(settings.data_dir.resolve(), connections_max=connections_max)
    supervisor = Supervisor()
    supervisor.keep(embedded.watch, "db.embedded")
    try:
        yield embedded.dsn, _where(settings.data_dir.resolve(), embedded.database_dir)
    finally:
        await supervisor.stop()
        await embedded.stop()


def _servers(url: str) -> str:
    """The hosts that the URL names, as the banner shows them."""
    return ", ".join(host for host, _ in addresses_of(url)) or "the database"


def _where(directory: Path, database: Path) -> str:
    """The data directory and the database's directory if they differ: a backup needs both."""
    if database.is_relative_to(directory):
        return str(directory)
    return (
        f"{directory} (files) and {database} (database: the account that PostgreSQL runs as cannot enter the first);"
        " back up both, move and remove them with: stoa data"
    )
