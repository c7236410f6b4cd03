"""Skills that a platform's file names: by an id of the platform, or as directories beside the file. On this server they
are skills of the project."""

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

INSTRUCTIONS: Final = "SKILL.md"
BYTES_MAX: Final = 1_000_000
"""Of a directory's files together: the server takes no larger archive."""
_LIBRARY: Final = "~/.dynamiq/skills"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An entry of an agent's `skills.source.skills`. `directory` is the base path that a FileSystem source names."""

    name: str
    id: str | None
    directory: str | None


def wanted(flow: Mapping[str, Any]) -> Iterator[Wanted]:
    """The skills of the flow's agents that have a name, each once for each agent."""
    for source in _sources(flow):
        directory = str(source.get("base_path") or _LIBRARY) if _is_file_system(source) else None
        for entry in _entries(source):
            if name := entry.get("name"):
                yield Wanted(str(name), str(entry["id"]) if entry.get("id") else None, directory)


def with_ids(flow: Any, id_of: Callable[[str, str | None], str | None]) -> Any:
    """The flow with `id_of(name, id)` as the id of each skill. An id that differs is one of another server, so its
    version is no version here: the latest is used."""
    if isinstance(flow, list):
        return [with_ids(one, id_of) for one in cast("list[Any]", flow)]
    if not isinstance(flow, Mapping):
        return flow
    made = {name: with_ids(one, id_of) for name, one in cast("Mapping[str, Any]", flow).items()}
    if isinstance(skills := made.get("skills"), dict) and isinstance(cast("Any", skills).get("source"), dict):
        source = cast("dict[str, Any]", skills["source"])
        source["skills"] = [_placed(one, id_of) for one in source.get("skills") or ()]
    return made


def archive(directory: Path) -> bytes | None:
    """A ZIP of a skill's directory, without links and hidden files. None without a SKILL.md, or if it is too large."""
    if not (directory / INSTRUCTIONS).is_file():
        return None
    made, size = io.BytesIO(), 0
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as written:
        for file in sorted(directory.rglob("*")):
            inside = file.relative_to(directory)
            if file.is_symlink() or not file.is_file() or any(part.startswith(".") for part in inside.parts):
                continue
            size += file.stat().st_size
            if size > BYTES_MAX:
                return None
            written.writestr(inside.as_posix(), file.read_bytes())
    return made.getvalue()


def directory_of(skill: Wanted, file: Path) -> Path | None:
    """The skill's directory: below the directory of the file, or the library's own below the home directory. A file
    from elsewhere cannot name another directory to be uploaded."""
    if skill.directory is None or "/" in skill.name or "\\" in skill.name or skill.name in (".", ".."):
        return None
    roots = file.resolve().parent, Path(_LIBRARY).expanduser().resolve()
    found = (roots[0] / Path(skill.directory).expanduser() / skill.name).resolve()
    return found if any(found.is_relative_to(root) for root in roots) else None


def _is_file_system(source: Mapping[str, Any]) -> bool:
    return str(source.get("type", "")).endswith(".FileSystem")


def _sources(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        for one in cast("list[Any]", value):
            yield from _sources(one)
    elif isinstance(value, Mapping):
        fields = cast("Mapping[str, Any]", value)
        skills = fields.get("skills")
        source = cast("Mapping[str, Any]", skills).get("source") if isinstance(skills, Mapping) else None
        if isinstance(source, Mapping):
            yield cast("Mapping[str, Any]", source)
        for one in fields.values():
            yield from _sources(one)


def _entries(source: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    given = source.get("skills")
    for one in cast("list[Any]", given) if isinstance(given, list) else []:
        if isinstance(one, Mapping):
            yield cast("Mapping[str, Any]", one)


def _placed(entry: Any, id_of: Callable[[str, str | None], str | None]) -> Any:
    if not isinstance(entry, Mapping) or not (fields := dict(cast("Mapping[str, Any]", entry))).get("name"):
        return entry
    before = str(fields["id"]) if fields.get("id") else None
    found = id_of(str(fields["name"]), before)
    if found is None or found == before:
        return fields
    return {**fields, "id": found, "version_id": "latest"}
