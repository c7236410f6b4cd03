"""Identifiers, as an argument. All are UUIDs in lower case; new ones are version 7, so that their order is by time."""

import os
import time
from typing import Protocol
from uuid import UUID


class Ids(Protocol):
    def new(self) -> UUID: ...


class RandomIds:
    """Version 7 (RFC 9562): 48 bits of milliseconds, then 74 random bits."""

    def new(self) -> UUID:
        value = int.from_bytes(os.urandom(16), "big")
        value &= (1 << 80) - 1
        value |= (time.time_ns() // 1_000_000) << 80
        value = (value & ~(0xF << 76)) | (7 << 76)
        value = (value & ~(0x3 << 62)) | (2 << 62)
        return UUID(int=value)


def event_id_tail(run_id: UUID) -> bytes:
    """All but the first 8 hex digits of a run's event ids, which are `%08x` of the event's sequence: derived, so that
    an id costs nothing to store and is equal on every read.

    The first 32 bits of the run's id (the slow half of its millisecond clock) give way to the sequence, and the
    version becomes 8 ("custom", RFC 9562); the other 90 bits keep it unique among runs.
    """
    run = str(run_id)
    return f"{run[8:14]}8{run[15:]}".encode()
