"""A worker that only implements the protocol with its parent, like `stoa.cli.workers.child`. Its first argument sets
its behaviour.

    serves    is ready, counts, and exits when drained
    crashes   exits with code 7 as soon as it gets its order
    refuses   reports why it cannot start
    hangs     is ready, then ignores everything
    breaks:F  serves; its second instance serves only while there is no file F, and otherwise crashes
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    behaves, place = sys.argv[1], int(sys.argv[2])
    parent = socket.socket(fileno=int(sys.argv[4]))
    lines = parent.makefile("rb")

    def send(what: str, **fields: Any) -> None:
        parent.sendall(json.dumps({"is": what, **fields}).encode() + b"\n")

    json.loads(lines.readline())
    if behaves == "crashes" or (behaves.startswith("breaks:") and place == 2 and Path(behaves[7:]).exists()):
        os._exit(7)
    if behaves == "refuses":
        send("refused", why="STOA_BOOTSTRAP_KEY is no key", away=False)
        os._exit(3)
    if behaves == "hangs":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    said = {"first_key": None, "sign_in_link": None, "owner_link": None, "default_model": "m", "providers": []}
    send("ready", said=said)
    while behaves == "hangs":
        time.sleep(60)
    for line in lines:
        order = json.loads(line)
        if order["is"] == "count":
            series = [[[], float(place)]]
            send("counts", families=[{"name": "n", "says": "N.", "labels": [], "kind": "counter", "series": series}])
        elif order["is"] in ("drain", "end"):
            os._exit(0)


main()
