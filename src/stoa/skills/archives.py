"""ZIP archives of skills: read and written in a thread, within limits on every size."""

import io
import stat
import zipfile
import zlib
from collections.abc import Sequence

from stoa.kernel.storable import as_storable
from stoa.skills import rules
from stoa.skills.types import NewVersion, SkillFile


class ArchiveError(Exception):
    """The archive is not a valid skill. The message continues a sentence that begins with the field's name."""


def read(content: bytes) -> NewVersion:
    """The version that an archive contains. Raises ArchiveError."""
    with _opened(content) as archive:
        entries = [one for one in archive.infolist() if not one.is_dir()]
        _check(entries)
        found = next((one for one in entries if one.filename == rules.INSTRUCTIONS_FILE), None)
        if found is None:
            raise ArchiveError(
                f"has no {rules.INSTRUCTIONS_FILE} at its root; make the archive inside the skill's directory"
            )
        text = _text(_unpacked(archive, found, rules.INSTRUCTIONS_CHARACTERS_MAX * 4))
    fields, instructions = rules.front_matter(text)
    if not instructions.strip() or len(instructions) > rules.INSTRUCTIONS_CHARACTERS_MAX:
        limit = rules.INSTRUCTIONS_CHARACTERS_MAX
        raise ArchiveError(f"has a {rules.INSTRUCTIONS_FILE} that is empty, or longer than {limit} characters")
    files = [SkillFile(one.filename, one.file_size) for one in entries]
    return NewVersion(_described(fields, instructions), instructions, content, files, fields.get("name"))


def written(name: str, description: str, instructions: str) -> bytes:
    """The archive of a version that has only instructions. The same arguments give the same bytes."""
    text = f"---\nname: {name}\ndescription: {_quoted(description)}\n---\n\n{instructions}\n"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(rules.INSTRUCTIONS_FILE, (1980, 1, 1, 0, 0, 0)), text.encode())
    return made.getvalue()


def file(content: bytes, path: str) -> str | None:
    """The text of a file of an archive, or None if there is no such file. Raises ArchiveError if it is not text."""
    with _opened(content) as archive:
        found = next((one for one in archive.infolist() if one.filename == path and not one.is_dir()), None)
        if found is None:
            return None
        raw = _unpacked(archive, found, rules.UNPACKED_BYTES_MAX)
    if b"\0" in raw[: rules.READ_BYTES_MAX]:
        raise ArchiveError("is no text")
    text = raw[: rules.READ_BYTES_MAX].decode("utf-8", "replace")
    left_out = len(raw) - rules.READ_BYTES_MAX
    return as_storable(text) if left_out <= 0 else f"{as_storable(text)}\n[… {left_out} more bytes are not shown]"


def _opened(content: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(content))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError, EOFError) as error:
        raise ArchiveError("is no ZIP archive that can be read") from error


def _check(entries: Sequence[zipfile.ZipInfo]) -> None:
    """Raises ArchiveError unless the archive is safe to unpack: agents and clients receive it unchanged."""
    if len(entries) > rules.FILES_MAX:
        raise ArchiveError(f"holds {len(entries)} files; a skill has at most {rules.FILES_MAX}")
    if sum(one.file_size for one in entries) > rules.UNPACKED_BYTES_MAX:
        raise ArchiveError(f"unpacks to more than {rules.UNPACKED_BYTES_MAX} bytes")
    if len({one.filename for one in entries}) < len(entries):
        raise ArchiveError("holds two files of one name")
    for one in entries:
        name = one.filename
        if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/") or not name.isprintable():
            raise ArchiveError(f"holds a file {name[:100]!r}, which would lie outside of the skill's directory")
        if stat.S_ISLNK(one.external_attr >> 16):
            raise ArchiveError(f"holds a link ({name[:100]!r}); a skill has files alone")
        if one.flag_bits & 1:
            raise ArchiveError("is encrypted")


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, bytes_max: int) -> bytes:
    """Never reads more than `bytes_max`, even if the archive declares a false size."""
    try:
        with archive.open(entry) as opened:
            content = opened.read(bytes_max + 1)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ArchiveError(f"holds a file {entry.filename[:100]!r} that cannot be unpacked") from error
    if len(content) > bytes_max:
        raise ArchiveError(f"holds a file {entry.filename[:100]!r} that is too large")
    return content


def _text(content: bytes) -> str:
    try:
        return as_storable(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ArchiveError(f"has a {rules.INSTRUCTIONS_FILE} that is not UTF-8") from error


def _described(fields: dict[str, str], instructions: str) -> str:
    """The `description` field, or else the first line of the instructions."""
    first = next((line.strip("# ") for line in instructions.splitlines() if line.strip("# ")), "")
    return (fields.get("description") or first)[: rules.DESCRIPTION_CHARACTERS_MAX]


def _quoted(text: str) -> str:
    return "'" + " ".join(text.split()).replace("'", "''") + "'"
