"""Stores the message of `stoa chat` on disk before it is sent. If the command is killed, the next one sends the same
message with the same Idempotency-Key, so that there is one message and one answer.

A command holds a file lock on its draft. The operating system releases the lock when the process ends.
"""

import contextlib
import json
import os
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Final

SECONDS_MAX: Final = 23 * 3600
"""Less than the 24 hours for which the server stores an Idempotency-Key."""


@dataclass(frozen=True, slots=True)
class Draft:
    url: str
    conversation_id: str
    text: str
    body: Mapping[str, Any]
    idempotency_key: str = field(default_factory=lambda: str(uuid.uuid4()))
    written_at: float = field(default_factory=time.time)


def folder() -> Path:
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "stoa" / "chats"


class DraftFile:
    """The draft of this command."""

    def __init__(self) -> None:
        self._path = folder() / f"{uuid.uuid4()}.json"
        self._file: IO[str] | None = None

    def put(self, draft: Draft) -> None:
        """Raises OSError."""
        self.clear()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")
        _lock(self._file)
        self._file.write(json.dumps(asdict(draft)))
        self._file.flush()
        os.fsync(descriptor)

    def clear(self) -> None:
        """Removes the draft after its answer."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            self._file.close()
            self._file = None


def take_orphan(url: str) -> Draft | None:
    """Removes and returns the newest draft for this server whose command has ended. Deletes older ones."""
    for path in sorted(_files(), key=lambda one: one.stat().st_mtime, reverse=True):
        with contextlib.suppress(OSError, ValueError, TypeError), path.open("r+", encoding="utf-8") as file:
            if not _lock(file):
                continue  # Its command is running.
            draft = Draft(**json.loads(file.read()))
            if draft.url != url:
                continue
            path.unlink()
            if time.time() - draft.written_at < SECONDS_MAX:
                return draft
    return None


def _files() -> list[Path]:
    try:
        return [path for path in folder().iterdir() if path.suffix == ".json"]
    except OSError:
        return []


def _lock(file: IO[str]) -> bool:
    """False if another process has the lock."""
    if sys.platform == "win32":
        return True
    import fcntl  # noqa: PLC0415 — exists on this platform only

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
