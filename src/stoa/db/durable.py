"""Durability across power failures."""

import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Makes the directory's entries durable: without this a synced file can be lost with its name."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
