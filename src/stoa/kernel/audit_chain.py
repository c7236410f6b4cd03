"""The hash chain of an audit. Pure, so that a file can be checked without a server.

A line's hash is SHA-256 over the hash before it and the line's entry as JSON with sorted keys and without white space.
To change, remove or insert a line one has to change every hash after it, which a hash stored elsewhere reveals.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

GENESIS: Final = bytes(32)
"""What the first line of an organization continues."""


@dataclass(frozen=True, slots=True)
class Verified:
    """`problem` None: lines `first` to `last` are one unbroken chain, which ends in `hash`."""

    first: int
    last: int
    hash: str
    problem: str | None = None


def digest(before: bytes, entry: Mapping[str, Any]) -> bytes:
    text = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(before + text.encode()).digest()


def verify(lines: Iterable[str]) -> Verified:
    """Verifies an export in JSON lines: `{"sequence", "previous", "hash", "entry"}` each."""
    first = last = 0
    before: bytes | None = None
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        shown = before.hex() if before else ""
        try:
            line = json.loads(text)
            sequence, previous, stated, entry = (
                int(line["sequence"]),
                bytes.fromhex(line["previous"]),
                str(line["hash"]),
                dict(line["entry"]),
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            return Verified(first, last, shown, f"Line {number} is no line of an audit.")
        if before is None:
            first, before = sequence, previous
            if sequence == 1 and previous != GENESIS:
                return Verified(1, 0, shown, "The first line continues something that is not there.")
        elif sequence != last + 1:
            return Verified(first, last, shown, f"Line {number} has the sequence {sequence}; {last + 1} is missing.")
        if previous != before:
            return Verified(first, last, shown, f"Line {number} (sequence {sequence}) does not continue the last.")
        if entry.get("sequence") != sequence or digest(before, entry).hex() != stated:
            return Verified(first, last, shown, f"Line {number} (sequence {sequence}) was changed.")
        before, last = bytes.fromhex(stated), sequence
    if before is None:
        return Verified(0, 0, "", "The file holds no line.")
    return Verified(first, last, before.hex())
