"""The process that checks values against tenants' schemas. It has no state, so it can be killed.

Reads one JSON object a line (`{schema, value?}`) and answers one a line (`{problem}`), until its input ends.
"""

import sys
from typing import Final

import orjson

from stoa.kernel import confinement, schemas

MEMORY_BYTES_MAX: Final = 512 * 1024 * 1024
"""Address space, of which Python and its libraries take about a fifth."""
CPU_SECONDS_MAX: Final = 3_600.0
"""CPU seconds of the whole life of the process; the caller enforces the timeout of a single check."""


def main(parent: int) -> None:
    confinement.die_with(parent)
    confinement.confine(MEMORY_BYTES_MAX, CPU_SECONDS_MAX)
    for line in sys.stdin.buffer:
        asked = orjson.loads(line)
        problem = (
            schemas.value_problem(asked["value"], asked["schema"])
            if "value" in asked
            else schemas.schema_problem(asked["schema"])
        )
        sys.stdout.buffer.write(orjson.dumps({"problem": problem}) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
