"""Reads a safetensors file: 8 bytes of header length, a JSON header, raw little-endian tensors. Nothing is copied."""

import json
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES_MAX: Final = 1 << 20
"""Far above the 11 kB of the model's header; a length beyond it is a damaged file."""


class SafetensorsError(Exception):
    """The file is not a readable safetensors file; the message says how."""


class MappedTensors:
    """The float32 tensors of a file by name, as read-only views of the mapped file. Raises SafetensorsError, OSError.

    The mapping lives as long as any of the views.
    """

    def __init__(self, path: Path) -> None:
        if path.stat().st_size < 8:
            raise SafetensorsError(f"{path.name} is too short to be a safetensors file")
        with path.open("rb") as stream:
            self._mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        length = int.from_bytes(self._mapped[:8], "little")
        if not 2 <= length <= min(HEADER_BYTES_MAX, len(self._mapped) - 8):
            raise SafetensorsError(f"{path.name} has an impossible header of {length} bytes")
        body = np.frombuffer(self._mapped, np.uint8, offset=8 + length)
        try:
            header: dict[str, dict[str, Any]] = json.loads(self._mapped[8 : 8 + length])
            self.floats: Mapping[str, NDArray[np.float32]] = {
                name: _view(body, entry) for name, entry in header.items() if entry.get("dtype") == "F32"
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SafetensorsError(f"{path.name} has a damaged header: {error}") from error

    def forget(self) -> None:
        """Gives the pages read so far back to the system; the views stay good and read again what they touch."""
        self._mapped.madvise(mmap.MADV_DONTNEED)


def _view(body: NDArray[np.uint8], entry: Mapping[str, Any]) -> NDArray[np.float32]:
    start, end = entry["data_offsets"]
    if not 0 <= start <= end <= body.size:
        raise ValueError(f"bytes {start} to {end} lie outside the file")
    return body[start:end].view("<f4").reshape(entry["shape"])
