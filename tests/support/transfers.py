"""Exports of projects: reads one, or makes one up."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import orjson

from tests.support.running import Running


async def exported(server: Running, project: str) -> bytes:
    answer = await server.client.get(f"/v1/projects/{project}/export")
    assert answer.status_code == 200, answer.text
    return answer.content


def entries(file: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(file)) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]


def manifest_of(file: bytes) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(entries(file)["manifest.json"])
    return found


def part_name(part: Mapping[str, Any]) -> str:
    return f"parts/{part['number']:06}-{part['table']}{'-contents' if part['contents'] else ''}.jsonl.gz"


def records(file: bytes) -> dict[str, list[dict[str, Any]]]:
    """Table → its records, in order."""
    held = entries(file)
    found: dict[str, list[dict[str, Any]]] = {}
    for part in manifest_of(file)["parts"]:
        lines = gzip.decompress(held[part_name(part)]).splitlines()
        found.setdefault(part["table"] + ("-contents" if part["contents"] else ""), []).extend(
            orjson.loads(line) for line in lines
        )
    return found


def packed(lines: Sequence[bytes]) -> bytes:
    return gzip.compress(b"\n".join(lines) + b"\n", mtime=0)


def made_up(*parts: tuple[str, bool, Sequence[bytes]], **fields: Any) -> tuple[dict[str, Any], list[bytes]]:
    """A manifest of an invented project, and its parts: (table, whether contents, lines)."""
    contents = [packed(lines) for _, _, lines in parts]
    columns: dict[str, list[str]] = {}
    counted: dict[str, int] = {}
    for table, of_contents, lines in parts:
        names = columns.setdefault(table, [])
        counted.setdefault(table, 0)
        if not of_contents:
            counted[table] += len(lines)
            names.extend(name for line in lines for name in orjson.loads(line) if name not in names)
    manifest = {
        "format": "stoa-project",
        "version": 1,
        "stoa": "0",
        "exported_at": "2026-01-01T00:00:00.000Z",
        "project": {"id": str(uuid4()), "name": "Made up", "description": None, "visibility": "internal"},
        "tables": {name: {"columns": columns[name], "records": counted[name]} for name in columns},
        "models": [],
        "to_fill_in": [],
        "missing_contents": [],
        "parts": [
            {
                "number": number,
                "table": table,
                "contents": of_contents,
                "records": len(lines),
                "bytes": len(b"\n".join(lines)) + 1,
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
            for number, ((table, of_contents, lines), content) in enumerate(zip(parts, contents, strict=True), 1)
        ],
        **fields,
    }
    return manifest, contents


async def sent(server: Running, manifest: Mapping[str, Any], contents: Sequence[bytes]) -> str:
    """The id of an import that has all of its parts."""
    made = (await server.call("POST", "/v1/imports", 201, json=manifest))["data"]
    for number in made["parts"]["missing"]:
        await server.call("PUT", f"/v1/imports/{made['id']}/parts/{number}", content=contents[number - 1])
    return str(made["id"])


async def sent_file(server: Running, file: bytes) -> str:
    held, manifest = entries(file), manifest_of(file)
    return await sent(server, manifest, [held[part_name(part)] for part in manifest["parts"]])
