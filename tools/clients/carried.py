"""Writes `src/stoa/cli/stream/`, what the command line carries of the Python client: `python tools/clients/carried.py`.

The wheel `stoa-server` must not depend on `stoa-client`, which is a distribution of its own, and a command should start
without httpx. What makes a stream right (frames, sequences, the hash, when to ask again) is therefore carried as it
stands in the client library, and only `transport.py`, which opens connections, is the command line's own. A test keeps
the copy current, and the cases of `clients/cases/streams.yaml` hold for it as for the library.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
LIBRARY: Final = ROOT / "clients" / "python" / "src" / "stoa_client"
CARRIED: Final = ROOT / "src" / "stoa" / "cli" / "stream"
NOTE: Final = "# Written by tools/clients/carried.py from clients/python/src/stoa_client/{name}; change that.\n"
WHOLE: Final = ("errors.py", "events.py", "follow.py", "records.py", "retry.py", "sse.py")
SYNC: Final = ("reader.py", "stream.py")
TYPES: Final = {"Usage", "ErrorDetail", "RunErrorDetail"}
"""What events are made of."""
WORDS: Final = (
    (r"^import httpx$", ""),
    (r"\bhttpx\.Response\b", "Response"),
    (r"^from stoa_client import wire$", "from stoa.cli.stream import transport as wire"),
    (r"^from stoa_client\._sync\.transport import Transport$", ""),
    (r"^from stoa_client\._sync\.reader import Reader$", "from stoa.cli.stream.reader import Reader"),
    (r"^from stoa_client\.wire import Call$", "from stoa.cli.stream.transport import Call, Response, Transport"),
    (r"\bstoa_client\b", "stoa.cli.stream"),
    (r"^class StoredEvent\(.*\n(?:    .*\n|\n(?=    ))+", ""),  # of pages of events, which no command types
)


def carried(name: str, source: str) -> str:
    for pattern, replacement in WORDS:
        source = re.sub(pattern, replacement, source, flags=re.MULTILINE)
    for ruff in (["check", "--select", "I,F401", "--fix"], ["format"]):
        command = [sys.executable, "-m", "ruff", *ruff, "--quiet", "--stdin-filename", str(CARRIED / name), "-"]
        source = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    return source


def types_of_events() -> str:
    """Those classes alone."""
    source = (LIBRARY / "types.py").read_text("utf-8")
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name in TYPES]
    assert {node.name for node in classes} == TYPES
    bodies = "\n\n\n".join(ast.get_source_segment(source, node) or "" for node in classes)
    return f'"""What the events of a run are made of."""\n\nfrom stoa_client.records import Record\n\n\n{bodies}\n'


def files() -> dict[Path, str]:
    """What the folder must hold."""
    sources = {name: (name, (LIBRARY / name).read_text("utf-8")) for name in WHOLE}
    sources["types.py"] = ("types.py", types_of_events())
    for name in SYNC:
        sources[name] = (f"_sync/{name}", (LIBRARY / "_sync" / name).read_text("utf-8").partition("\n")[2])
    return {
        CARRIED / name: NOTE.format(name=origin) + carried(name, source) for name, (origin, source) in sources.items()
    }


def main() -> int:
    for path, text in files().items():
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
