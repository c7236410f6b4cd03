"""The process that converts one OpenAPI document into tools. It can be killed: an untrusted document may need any time
and memory to expand (YAML aliases can expand to billions of values).

Reads a line of JSON (the request, without its secrets' values) and then the document, to the end of its input. Answers
one JSON object a line: `{tool}`, `{skipped}` or `{refused}` each, and `{end}` when it is done.
"""

import sys
from dataclasses import asdict
from typing import Any, Final

import orjson

from stoa.kernel import confinement
from stoa.kernel.errors import BadRequest
from stoa.tools import openapi
from stoa.tools.types import ImportRequest

MEMORY_BYTES_MAX: Final = 1024 * 1024 * 1024
"""Address space. Eight megabytes of JSON become 200 MB of objects at worst."""
CPU_SECONDS_MAX: Final = 30.0
LINE_BYTES_MAX: Final = 512 * 1024
"""One tool. Schemas over 256 KiB are refused anyway."""
NAME_CHARACTERS_MAX: Final = 300


def main(parent: int) -> None:
    confinement.die_with(parent)
    confinement.confine(MEMORY_BYTES_MAX, CPU_SECONDS_MAX)
    request = ImportRequest(**orjson.loads(sys.stdin.buffer.readline()))
    document = sys.stdin.buffer.read().decode("utf-8", "replace")
    try:
        made = openapi.plan(document, request)
    except BadRequest as refusal:
        _say({"refused": {"message": refusal.message, "details": refusal.details}})
    else:
        for title, reason in made.skipped:
            _skip(title, reason)
        for one in made.tools:
            line = orjson.dumps(
                {"tool": {"operation": one.operation, "notes": list(one.notes), "new": asdict(one.new)}}
            )
            if len(line) < LINE_BYTES_MAX:
                sys.stdout.buffer.write(line + b"\n")
            else:
                _skip(one.operation, f"it is larger than {LINE_BYTES_MAX // 1024} KiB as a tool")
    _say({"end": True})
    sys.stdout.buffer.flush()


def _skip(title: str, reason: str) -> None:
    _say({"skipped": [title[:NAME_CHARACTERS_MAX], reason[:NAME_CHARACTERS_MAX]]})


def _say(value: Any) -> None:
    sys.stdout.buffer.write(orjson.dumps(value) + b"\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
