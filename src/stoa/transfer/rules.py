"""Pure decisions about exports and imports: the format, its limits, and valid manifests."""

import re
import tarfile
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, cast
from uuid import UUID

from stoa.kernel.errors import BadRequest
from stoa.transfer.types import Known, Manifest, Part, ProjectRecord

FORMAT: Final = "stoa-project"
VERSION: Final = 1
"""To be incremented when older releases would misread a file of this release. This release reads all older files."""
HEADER: Final = "header.json"
MANIFEST: Final = "manifest.json"
PART_BYTES: Final = 4 * 1024 * 1024
"""A part is closed when it has this many bytes before compression."""
PART_BYTES_MAX: Final = 64 * 1024 * 1024
"""The largest part that an import accepts, uncompressed. It exceeds PART_BYTES because one record may be large."""
PIECE_BYTES: Final = 512 * 1024
"""Bytes of a file's content in one record."""
MANIFEST_BYTES_MAX: Final = 4 * 1024 * 1024
MANIFEST_VALUES_MAX: Final = 400_000
PARTS_MAX: Final = 20_000
"""About 80 GB before compression."""
LIST_MAX: Final = 10_000
WAITING_MAX: Final = 5
"""Imports of one organization that are not applied yet. Each may occupy gigabytes."""
EXPORTS_MAX: Final = 2
"""Exports of one node at a time. Each occupies a connection with an open snapshot."""
IDLE_SECONDS_MAX: Final = 120.0
"""How long an export keeps its snapshot without a request."""
KEPT: Final = timedelta(days=7)
"""How long an import that was not applied is kept."""
BATCH_BYTES: Final = 256 * 1024
BATCH_RECORDS: Final = 250
"""Records per INSERT: enough to be fast, and few enough not to block the event loop."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")


def tar_header(name: str, size: int, mtime: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = size, mtime, 0o600
    return entry.tobuf(tarfile.USTAR_FORMAT)


def tar_padding(size: int) -> bytes:
    return b"\0" * (-size % tarfile.BLOCKSIZE)


TAR_END: Final = b"\0" * (2 * tarfile.BLOCKSIZE)


def as_json(manifest: Manifest) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "stoa": manifest.stoa,
        "exported_at": manifest.exported_at,
        "project": {
            "id": str(manifest.project.id),
            "name": manifest.project.name,
            "description": manifest.project.description,
            "visibility": manifest.project.visibility,
        },
        "tables": {
            name: {"columns": list(columns), "records": manifest.records.get(name, 0)}
            for name, columns in manifest.columns.items()
        },
        "models": [{"id": str(one), "slug": slug} for one, slug in manifest.models.items()],
        "to_fill_in": list(manifest.to_fill_in),
        "missing_contents": sorted(manifest.missing_contents),
        "parts": [
            {
                "number": part.number,
                "table": part.table,
                "contents": part.contents,
                "records": part.records,
                "bytes": part.bytes,
                "size": part.size,
                "sha256": part.sha256,
            }
            for part in manifest.parts
        ],
    }


def read_manifest(value: Mapping[str, Any]) -> Manifest:
    """Raises BadRequest naming the field."""
    check_format(value)
    tables = {name: _table(f"tables.{name}", one) for name, one in _object(value, "tables").items()}
    parts = [read_part(f"parts[{index}]", one) for index, one in enumerate(_list(value, "parts", PARTS_MAX))]
    if [part.number for part in parts] != list(range(1, len(parts) + 1)):
        raise BadRequest.field("parts", "are not numbered 1, 2, 3 …")
    models = dict(_model(f"models[{index}]", one) for index, one in enumerate(_list(value, "models", LIST_MAX)))
    missing = [str(one) for one in _list(value, "missing_contents", LIST_MAX)]
    return Manifest(
        _project(_object(value, "project")),
        _text(value, "exported_at", 64),
        _text(value, "stoa", 64),
        {name: columns for name, (columns, _) in tables.items()},
        {name: records for name, (_, records) in tables.items()},
        parts,
        models,
        [str(one)[:500] for one in _list(value, "to_fill_in", LIST_MAX)],
        frozenset(missing),
    )


def check_format(value: Mapping[str, Any]) -> None:
    """Raises BadRequest if it is not an export, or if a newer release wrote it."""
    if value.get("format") != FORMAT:
        raise BadRequest.field("format", f"is not {FORMAT}: this is no export of a Stoa project")
    version = _number(value, "version", 1, 1_000_000)
    if version > VERSION:
        raise BadRequest.field(
            "version",
            f"is {version}, and this server reads up to {VERSION}: the export was made by a newer Stoa; update this"
            " server first",
        )


def check_tables(manifest: Manifest, tables: Mapping[str, Known]) -> None:
    """Raises BadRequest if the file has a table, a column or a kind of part that this server does not know."""
    for name, columns in manifest.columns.items():
        table = tables.get(name)
        if table is None:
            raise BadRequest.field(f"tables.{name}", f"is no table of an export of this release{_NEWER}")
        if unknown := [one for one in columns if one not in table.columns]:
            raise BadRequest.field(f"tables.{name}", f"has the column {unknown[0]}, which is not imported{_NEWER}")
    for index, part in enumerate(manifest.parts):
        table = tables.get(part.table)
        if table is None or part.table not in manifest.columns:
            raise BadRequest.field(f"parts[{index}].table", f"is {part.table}, which is no table of this export")
        if part.contents and not table.contents:
            raise BadRequest.field(f"parts[{index}].contents", f"is true, and {part.table} has no contents")
    counted = dict.fromkeys(manifest.columns, 0)
    for part in manifest.parts:
        counted[part.table] += 0 if part.contents else part.records
    for name, records in counted.items():
        if records != manifest.records[name]:
            raise BadRequest.field(
                f"tables.{name}", f"says {manifest.records[name]} records, and its parts hold {records}"
            )


_NEWER: Final = "; was the export made by a newer Stoa? Update this server first"


def _table(path: str, value: Any) -> tuple[Sequence[str], int]:
    one = _mapping(path, value)
    columns = [str(column) for column in _list(one, "columns", 200, path)]
    if len(set(columns)) != len(columns) or not all(_NAME.match(column) for column in columns):
        raise BadRequest.field(f"{path}.columns", "must be names, each once")
    return columns, _number(one, "records", 0, 1 << 48, path)


def read_part(path: str, value: Any) -> Part:
    one = _mapping(path, value)
    sha256 = _text(one, "sha256", 64, path)
    if not _SHA256.match(sha256):
        raise BadRequest.field(f"{path}.sha256", "must have 64 hexadecimal digits")
    return Part(
        _number(one, "number", 1, PARTS_MAX, path),
        _text(one, "table", 63, path),
        one.get("contents") is True,
        _number(one, "records", 0, PART_BYTES_MAX, path),
        _number(one, "bytes", 0, PART_BYTES_MAX, path),
        _number(one, "size", 1, PART_BYTES_MAX, path),
        sha256,
    )


def _model(path: str, value: Any) -> tuple[UUID, str]:
    one = _mapping(path, value)
    return _uuid(one, "id", path), _text(one, "slug", 500, path)


def _project(value: Mapping[str, Any]) -> ProjectRecord:
    description = value.get("description")
    if description is not None:
        description = _text(value, "description", 100_000, "project")
    visibility = _text(value, "visibility", 20, "project")
    if visibility not in ("internal", "private"):
        raise BadRequest.field("project.visibility", "must be internal or private")
    return ProjectRecord(_uuid(value, "id", "project"), _text(value, "name", 1_000, "project"), description, visibility)


def _mapping(path: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest.field(path, "must be an object")
    return cast("Mapping[str, Any]", value)


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _mapping(name, value.get(name))


def _list(value: Mapping[str, Any], name: str, items_max: int, above: str = "") -> Sequence[Any]:
    found = value.get(name)
    if not isinstance(found, list) or len(cast("list[Any]", found)) > items_max:
        raise BadRequest.field(_path(above, name), f"must be a list of at most {items_max}")
    return cast("list[Any]", found)


def _text(value: Mapping[str, Any], name: str, characters_max: int, above: str = "") -> str:
    found = value.get(name)
    if not isinstance(found, str) or not 0 < len(found) <= characters_max:
        raise BadRequest.field(_path(above, name), f"must be a text of at most {characters_max} characters")
    return found


def _number(value: Mapping[str, Any], name: str, least: int, most: int, above: str = "") -> int:
    found = value.get(name)
    if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
        raise BadRequest.field(_path(above, name), f"must be a whole number from {least} to {most}")
    return found


def _uuid(value: Mapping[str, Any], name: str, above: str) -> UUID:
    try:
        return UUID(_text(value, name, 36, above))
    except ValueError:
        raise BadRequest.field(_path(above, name), "must be a UUID") from None


def _path(above: str, name: str) -> str:
    return f"{above}.{name}" if above else name
