"""The socket that the server listens on, and how many connections it takes."""

import contextlib
import socket
import sys
from typing import Final

BACKLOG: Final = 4096
"""A thousand clients that reconnect at once must all get into the queue."""
ACCEPTED_PER_TURN: Final = 8
"""uvloop takes one new connection per socket and turn of the loop; under load, when turns are long, a burst of clients
would wait for seconds."""
UNSENT_BYTES_MAX: Final = 64 * 1024
"""What the kernel takes for a client beyond what is on its way: without this, up to 4 MB for each one that has stopped
reading."""
DESCRIPTORS_WANTED: Final = 65_536
"""File descriptors, where the system allows as many."""


class StartError(Exception):
    """The server cannot start; the message says why, and the way out."""


def bind(host: str, port: int) -> socket.socket:
    """Before anything else is started, so that a taken port is known at once. Raises StartError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol by its name: asyncio's own loop sends small answers at once only on connections of sockets that say
    # it.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # Connections inherit it.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise StartError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another port: stoa serve --port 8081"
        ) from error
    listening.setblocking(False)
    return listening


def doors(listening: socket.socket, at_once: int = ACCEPTED_PER_TURN) -> list[socket.socket]:
    """The same socket under several numbers: each takes a new connection in the same turn of the loop."""
    # Processes that share it share its mode. Of a socket made from a number Python thinks that it blocks, and a copy
    # would make it so for all: whoever then loses the race for a connection would wait in accept() for the next one.
    listening.setblocking(False)
    more = 0 if sys.platform == "win32" else at_once - 1  # There it is asyncio's own loop, which takes all that wait.
    return [listening, *(listening.dup() for _ in range(more))]


def descriptors_max() -> int:
    """Raised to what the system allows this process."""
    if sys.platform == "win32":
        return 8192
    import resource  # noqa: PLC0415 — exists on this platform only

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else min(soft, DESCRIPTORS_WANTED)
