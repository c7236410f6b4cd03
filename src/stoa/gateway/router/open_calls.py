"""Records running calls in a file. If the process is killed, the next one reads the file and bills them.

Each call has a place in a memory-mapped file, so writing to it needs no system call. The file holds no content, only
the owner of the call, the model that was called, and counts. It survives `kill -9`, but not the loss of the machine's
memory.
"""

import fcntl
import math
import mmap
import os
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import UUID

import orjson
import structlog

from stoa.gateway.types import Usage

MAGIC: Final = b"stoa-calls-1\0\0\0\0"
HEADER_BYTES: Final = 65_536
"""A multiple of every system's mapping granularity, so that segments can be mapped."""
PLACE_BYTES: Final = 4_096
SEGMENT_PLACES: Final = 64
PLACES_MAX: Final = 16_384
"""64 MiB. Further calls are made, but not billed if the process is killed."""
AGE_SECONDS_MAX: Final = 30 * 86_400.0
"""Older files are not billed. The record of which lines were inserted is kept for twice as long."""
_HEAD: Final = struct.Struct("<BBH")  # State, what the provider has counted, bytes of the JSON.
_NOTHING, _ALL, _PROMPT = 0, 1, 2
_BATCH: Final = struct.Struct("<Q")
_CAME: Final = struct.Struct("<QQ")  # Bytes and events whose text has not been counted.
_CHARACTERS: Final = struct.Struct("<Q")
_SHAPE: Final = struct.Struct("<dd")  # Bytes of an event beside its text, and characters in a byte of text.
_USAGE: Final = struct.Struct("<QQQQ?")
_WRITTEN: Final = struct.Struct("<I")  # Tokens of the prompt that went into the provider's cache.
_COST: Final = struct.Struct("<d")  # NaN: no price is known.
_MODEL: Final = struct.Struct("<H")
_BATCH_AT, _CHARACTERS_AT, _CAME_AT, _SHAPE_AT, _USAGE_AT, _WRITTEN_AT, _COST_AT, _JSON_AT, _MODEL_AT = (
    8, 16, 24, 40, 56, 92, 96, 104, 2_600,
)  # fmt: skip # a table
_log = structlog.get_logger("stoa.gateway")


class _State(IntEnum):
    FREE = 0
    TAKEN = 1
    """No provider is working on the call."""
    ASKED = 2
    """A provider is working on it: it is billed as reported, or by an estimate of what was received."""
    ENTERED = 3
    """The line waits for its insertion."""


class Place:
    """The place where one call records its progress. Its methods never fail."""

    __slots__ = ("_at", "_memory", "about")

    def __init__(self, memory: mmap.mmap | bytearray, at: int) -> None:
        self._memory = memory
        self._at = at
        self.about: Mapping[str, Any] = {}
        """The owner of the call, while the place is in use."""

    def take(self, about: Mapping[str, Any]) -> None:
        self.about = about
        content = orjson.dumps(about)
        if len(content) > _MODEL_AT - _JSON_AT:
            content = orjson.dumps({**about, "user_id": None})
        start = self._at + _JSON_AT
        self._memory[start : start + len(content)] = content
        _HEAD.pack_into(self._memory, self._at, _State.TAKEN, 0, len(content))

    def asked(self, model: str) -> None:
        """Records that a provider is called; nothing was received yet."""
        self._name(model)
        _CHARACTERS.pack_into(self._memory, self._at + _CHARACTERS_AT, 0)
        _CAME.pack_into(self._memory, self._at + _CAME_AT, 0, 0)
        self._memory[self._at + 1] = _NOTHING
        self._memory[self._at] = _State.ASKED

    def failed(self) -> None:
        """Records that the provider failed before it began to answer, so it bills nothing."""
        self._memory[self._at] = _State.TAKEN

    def counted(self, characters: int) -> None:
        """Records the characters received; no events are uncounted."""
        _CAME.pack_into(self._memory, self._at + _CAME_AT, 0, 0)
        _CHARACTERS.pack_into(self._memory, self._at + _CHARACTERS_AT, characters)

    def came(self, size: int, events: int) -> None:
        """Records the bytes and events that were received but not counted."""
        _CAME.pack_into(self._memory, self._at + _CAME_AT, size, events)

    def shaped(self, overhead: float, characters_per_byte: float) -> None:
        """Records how the text in uncounted events is estimated."""
        _SHAPE.pack_into(self._memory, self._at + _SHAPE_AT, overhead, characters_per_byte)

    def reported(self, usage: Usage, *, prompt_only: bool = False) -> None:
        """Records the usage that the provider reports; `prompt_only`: it has not counted its answer yet."""
        counts = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens)
        _USAGE.pack_into(self._memory, self._at + _USAGE_AT, *counts, usage.estimated)
        _WRITTEN.pack_into(self._memory, self._at + _WRITTEN_AT, usage.cache_write_tokens)
        self._memory[self._at + 1] = _PROMPT if prompt_only else _ALL

    def entered(self, model: str, usage: Usage, cost_usd: float | None) -> None:
        """Records that the line is complete, and waits for a group that inserts it."""
        self._name(model)
        self.reported(usage)
        _COST.pack_into(self._memory, self._at + _COST_AT, math.nan if cost_usd is None else cost_usd)
        self.sent(0)
        self._memory[self._at] = _State.ENTERED

    def sent(self, batch: int) -> None:
        """Records the number of the group that sends the line, or the release of the reservation."""
        _BATCH.pack_into(self._memory, self._at + _BATCH_AT, batch)

    def free(self) -> None:
        self.about = {}
        self._memory[self._at] = _State.FREE
        self.sent(0)

    def _name(self, model: str) -> None:
        name = model.encode()[: PLACE_BYTES - _MODEL_AT - _MODEL.size]
        start = self._at + _MODEL_AT
        _MODEL.pack_into(self._memory, start, len(name))
        self._memory[start + _MODEL.size : start + _MODEL.size + len(name)] = name


NOWHERE: Final = Place(bytearray(PLACE_BYTES), 0)
"""The place of a call that is in no file."""


@dataclass(frozen=True, slots=True)
class UnbilledCall:
    """A call of a killed process. `batch` is the group that may have inserted it, 0 if none was sent. `model` is None
    if no provider was working on it. `usage` is the provider's count, `prompt` if it counted only the prompt.
    `cost_usd` is known if `priced`."""

    about: Mapping[str, Any]
    batch: int
    model: str | None
    characters: int
    usage: Usage | None
    prompt: Usage | None
    priced: bool
    cost_usd: float | None


class OpenCalls:
    """The file of this process. Without a directory, or if the file cannot be written, calls are made nevertheless."""

    def __init__(self, directory: Path | None, node_id: UUID) -> None:
        self._path = None if directory is None else directory / str(node_id)
        self._file: BinaryIO | None = None
        self._segments: list[mmap.mmap] = []
        self._free: list[Place] = []
        self._taken: dict[UUID, Place] = {}
        self._full = False
        """The disk was full; the file no longer grows."""

    def open(self) -> None:
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new = self._path.with_suffix(".new")  # Under this name no other process reads it as left behind.
            self._file = new.open("w+b")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.write(MAGIC.ljust(HEADER_BYTES, b"\0"))
            self._file.flush()
            new.rename(self._path)
        except OSError as error:
            self._give_up(error)

    def close(self, *, keep: bool) -> None:
        """`keep`: the file contains lines that are not inserted, and is not deleted."""
        self._taken.clear()
        self._free.clear()
        for segment in self._segments:
            segment.close()
        self._segments.clear()
        if self._file is not None:
            if not keep and self._path is not None:
                self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def take(self, call_id: UUID, about: Mapping[str, Any]) -> Place:
        if not self._free:
            self._grow()
        if not self._free:
            return NOWHERE
        place = self._taken[call_id] = self._free.pop()
        place.take(about)
        return place

    def of(self, call_id: UUID) -> Place:
        return self._taken.get(call_id, NOWHERE)

    def free(self, call_id: UUID) -> None:
        if (place := self._taken.pop(call_id, None)) is not None:
            place.free()
            self._free.append(place)

    def _grow(self) -> None:
        """Adds a segment, whose blocks are allocated first: on a full disk, writing to a mapped page without a block
        would kill the process."""
        if self._file is None or self._full or len(self._segments) * SEGMENT_PLACES >= PLACES_MAX:
            return
        size = SEGMENT_PLACES * PLACE_BYTES
        start = HEADER_BYTES + len(self._segments) * size
        try:
            self._file.seek(start)
            self._file.write(bytes(size))
            self._file.flush()
            segment = mmap.mmap(self._file.fileno(), size, offset=start)
        except OSError as error:
            self._give_up(error)
            return
        self._segments.append(segment)
        self._free.extend(Place(segment, index * PLACE_BYTES) for index in range(SEGMENT_PLACES))

    def _give_up(self, error: OSError) -> None:
        self._full = True
        _log.warning("calls under way are not kept for the bill", reason=str(error))


class AbandonedFile:
    """A file whose process has ended. `node_id` is that process's. This process has the file locked until `close`."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.node_id = UUID(path.name)
        self._path = path
        self._file = file

    def calls(self) -> Sequence[UnbilledCall]:
        old = time.time() - os.fstat(self._file.fileno()).st_mtime > AGE_SECONDS_MAX
        self._file.seek(0)
        content = self._file.read()
        if old or content[: len(MAGIC)] != MAGIC:
            return []
        places = range(HEADER_BYTES, len(content) - PLACE_BYTES + 1, PLACE_BYTES)
        return [lost for at in places if (lost := _lost(content[at : at + PLACE_BYTES])) is not None]

    def close(self, *, keep: bool) -> None:
        if not keep:
            self._path.unlink(missing_ok=True)
        self._file.close()


def abandoned_files(directory: Path | None) -> Sequence[AbandonedFile]:
    """The files of ended processes, each locked for the caller."""
    found: list[AbandonedFile] = []
    for path in sorted(directory.iterdir()) if directory is not None and directory.is_dir() else ():
        try:
            UUID(path.name)
            file = path.open("r+b")
        except (OSError, ValueError):
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(file.fileno()).st_nlink:  # Another process has just settled and deleted it.
                raise OSError
        except OSError:
            file.close()
            continue
        found.append(AbandonedFile(path, file))
    return found


def _lost(place: bytes) -> UnbilledCall | None:
    state, reported, size = _HEAD.unpack_from(place)
    if state not in (_State.TAKEN, _State.ASKED, _State.ENTERED):
        return None
    try:
        about = orjson.loads(place[_JSON_AT : _JSON_AT + size])
    except orjson.JSONDecodeError:
        return None
    (batch,) = _BATCH.unpack_from(place, _BATCH_AT)
    if state == _State.TAKEN:
        return UnbilledCall(about, batch, None, 0, None, None, priced=False, cost_usd=None)
    (length,) = _MODEL.unpack_from(place, _MODEL_AT)
    start = _MODEL_AT + _MODEL.size
    model = place[start : start + length].decode(errors="ignore")
    (cost,) = _COST.unpack_from(place, _COST_AT)
    usage = Usage(*_USAGE.unpack_from(place, _USAGE_AT), *_WRITTEN.unpack_from(place, _WRITTEN_AT))
    priced = state == _State.ENTERED
    return UnbilledCall(
        about,
        batch,
        model,
        _text_of(place),
        usage if reported == _ALL else None,
        usage if reported == _PROMPT else None,
        priced=priced,
        cost_usd=None if not priced or math.isnan(cost) else cost,
    )


def _text_of(place: bytes) -> int:
    """The number of characters: the counted ones plus an estimate of the others."""
    (characters,) = _CHARACTERS.unpack_from(place, _CHARACTERS_AT)
    size, events = _CAME.unpack_from(place, _CAME_AT)
    overhead, per_byte = _SHAPE.unpack_from(place, _SHAPE_AT)
    return int(characters) + max(round((size - events * overhead) * per_byte), 0)
