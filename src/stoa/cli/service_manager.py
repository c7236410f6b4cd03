"""Notifies the service manager that the server is ready, or stopping (sd_notify of systemd, `Type=notify`).

Without it, systemd would start units that are ordered after the server before the server accepts requests.
"""

import contextlib
import os
import socket
import sys
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"


def notify(state: str) -> None:
    """Sends a state to the socket in NOTIFY_SOCKET, if it is set. Ignores a manager that has ended."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address or sys.platform == "win32":
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifying:
        notifying.setblocking(False)
        notifying.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        notifying.send(state.encode())
