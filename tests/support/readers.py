"""Shared by tests of reading files: both ways to start a reader, and its results."""

import sys
from pathlib import Path

import pytest

from stoa.documents.converting import Converter
from stoa.documents.types import Converted

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="readers are forked on Linux, and watched through /proc")
WAYS = pytest.mark.parametrize(
    "forks", [pytest.param(True, id="forked", marks=LINUX), pytest.param(False, id="started")]
)
"""A process for each file, forked from one that is ready, or started anew."""


async def read(converter: Converter, tmp_path: Path, name: str, data: bytes, mime_type: str | None = None) -> Converted:
    path = tmp_path / "blob"  # stored files have no suffix: the name alone says what the user thinks it is
    path.write_bytes(data)
    return await converter.convert(path, name=name, mime_type=mime_type)


def text_of(converted: Converted) -> str:
    return "\n\n".join(passage.text for passage in converted.passages)
