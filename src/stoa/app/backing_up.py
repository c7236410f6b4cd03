"""Scheduled backups: the settings of `[backup]` as a command and its environment."""

import os
import sys
from collections.abc import Mapping
from typing import Final

from stoa.db.backup.scheduling import Backups, Schedule
from stoa.http.component import Component, Kit
from stoa.settings import Settings

COMMAND: Final = (sys.executable, "-m", "stoa", "backup", "--scheduled")


def open_backups(settings: Settings, kit: Kit) -> Component:
    chosen = settings.backup
    schedule = None
    if chosen is not None and chosen.directory is not None:
        schedule = Schedule(chosen.directory.resolve(), chosen.schedule, COMMAND, _environment(settings, kit.dsn))
    backups = Backups(schedule, kit.clock)
    return Component(checks=backups.checks(), metrics=backups.metrics(), background=[backups])


def _environment(settings: Settings, dsn: str) -> Mapping[str, str]:
    """The command gets the same settings as this server, wherever they came from."""
    assert settings.backup is not None
    keys = {
        name: str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)
        for name, value in settings.backup
        if value is not None
    }
    return {
        **os.environ,
        **{f"STOA_BACKUP_{name.upper()}": value for name, value in keys.items()},
        "STOA_DATA_DIR": str(settings.data_dir.resolve()),
        "STOA_DATABASE_URL": dsn,
    }
