"""Tells the service manager that the server is ready, or stops (sd_notify of systemd, `Type=notify`).

Without it, what is ordered after the server begins before the server answers.
"""

import contextlib
import os
import socket
import sys
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"


def notify(state: str) -> None:
    """Sends a state to the socket in NOTIFY_SOCKET, where there is one. A manager that is gone is no failure."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address or sys.platform == "win32":
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifying:
        notifying.setblocking(False)
        notifying.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        notifying.send(state.encode())
